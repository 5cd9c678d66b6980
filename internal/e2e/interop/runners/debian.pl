# Crypt::JWT from Debian's packages, told the algorithm, the issuer and the audience.
use strict;
use warnings;
use Crypt::JWT qw(decode_jwt);
use HTTP::Tiny;
use JSON::PP qw(decode_json);

my ($url, $issuer, $audience) = map { $ENV{"INTEROP_$_"} } qw(URL ISSUER AUDIENCE);
sub get { my $r = HTTP::Tiny->new->get($url . shift); die $r->{status} unless $r->{success}; $r->{content} }

for my $what (split(' ', $ENV{INTEROP_ALGS}), 'mixed', 'forged') {
    my ($alg, $keys) = $what eq 'mixed' ? ('ES256', '/jwks.json') : ($what, "/jwks.json?alg=$what");
    ($alg, $keys) = ('ES256', '/jwks.json?alg=ES256') if $what eq 'forged';
    my $token = get("/token?alg=$alg" . ($what eq 'forged' ? '&forged=1' : ''));
    my $said = 'ok';
    eval {
        decode_jwt(token => $token, kid_keys => decode_json(get($keys)), accepted_alg => [$alg], verify_iss => sub { $_[0] eq $issuer },
            verify_aud => sub { $_[0] eq $audience }, verify_iat => 1, verify_exp => 1);
        1;
    } or do { ($said) = split /\n/, $@; $said =~ s/\Q$token\E/(token)/g; $said =~ tr/\t/ / };
    print join("\t", 'Crypt::JWT', $Crypt::JWT::VERSION, $what, $said), "\n";
}
