# Crypt::JWT from Debian's packages, told the algorithm, the issuer and the audience. Mojo::JWT
# and JSON::WebToken, which look at no claims but exp or none, are told the key set or the key.
use strict;
use warnings;
use Crypt::JWT ();
use HTTP::Tiny;
use JSON::PP qw(decode_json);
use JSON::WebToken ();
use Mojo::JWT ();

my ($url, $issuer, $audience) = map { $ENV{"INTEROP_$_"} } qw(URL ISSUER AUDIENCE);
sub get { my $r = HTTP::Tiny->new->get($url . shift); die $r->{status} unless $r->{success}; $r->{content} }

my %ask = (
    'Crypt::JWT' => sub {
        my ($token, $alg, $set) = @_;
        Crypt::JWT::decode_jwt(token => $token, kid_keys => decode_json(get($set)), accepted_alg => [$alg], verify_iss => sub { $_[0] eq $issuer },
            verify_aud => sub { $_[0] eq $audience }, verify_iat => 1, verify_exp => 1);
    },
    'JSON::WebToken' => sub { JSON::WebToken::decode_jwt($_[0], get("/pem?alg=$_[1]"), 1, [$_[1]]) },
    'Mojo::JWT' => sub { Mojo::JWT->new(jwks => decode_json(get($_[2]))->{keys})->decode($_[0]) },
);
my %version = ('Crypt::JWT' => $Crypt::JWT::VERSION, 'JSON::WebToken' => $JSON::WebToken::VERSION, 'Mojo::JWT' => $Mojo::JWT::VERSION);

for my $name (sort keys %ask) {
    # Who knows RS256 alone is asked whether it takes a forged one of those.
    my $forged = $name eq 'Crypt::JWT' ? 'ES256' : 'RS256';
    for my $what (split(' ', $ENV{INTEROP_ALGS}), 'mixed', 'forged') {
        next if $what eq 'mixed' && $name eq 'JSON::WebToken'; # it is given one key
        my $alg = { mixed => 'ES256', forged => $forged }->{$what} // $what;
        my $token = get("/token?alg=$alg" . ($what eq 'forged' ? '&forged=1' : ''));
        my $said = 'ok';
        eval { $ask{$name}->($token, $alg, $what eq 'mixed' ? '/jwks.json' : "/jwks.json?alg=$alg"); 1 }
            or do { ($said) = split /\n/, $@; $said =~ s/\Q$token\E/(token)/g; $said =~ tr/\t/ / };
        print join("\t", $name, $version{$name}, $what, $said), "\n";
    }
}
