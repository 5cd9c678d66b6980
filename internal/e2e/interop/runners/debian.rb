# Ruby libraries from Debian's packages, told the algorithm, the issuer and the audience.

require 'json'
require 'json/jwt'
require 'jwt'
require 'net/http'
require 'openssl'

url, issuer, audience = %w[URL ISSUER AUDIENCE].map { |n| ENV.fetch("INTEROP_#{n}") }
get = ->(path) { Net::HTTP.get(URI(url + path)) }

verifiers = {
  ['ruby-jwt', Gem.loaded_specs['jwt']&.version || JWT.gem_version] => lambda { |alg, token, keys|
    jwks = JSON.parse(get.call(keys), symbolize_names: true)
    ::JWT.decode(token, nil, true, algorithms: [alg], jwks: jwks, iss: issuer, verify_iss: true, aud: audience, verify_aud: true, verify_iat: true)
  },
  ['json-jwt', Gem.loaded_specs['json-jwt']&.version || Gem::Specification.find_by_name('json-jwt').version] => lambda { |alg, token, keys|
    set = JSON::JWK::Set.new(JSON.parse(get.call(keys)))
    claims = JSON::JWT.decode(token, set, [alg.to_sym])
    raise 'another issuer' unless claims[:iss] == issuer
    raise 'expired' unless claims[:exp] > Time.now.to_i
  }
}
verifiers.each do |(name, version), verify|
  [*ENV.fetch('INTEROP_ALGS').split, 'mixed', 'forged'].each do |what|
    alg, keys = what == 'mixed' ? ['ES256', '/jwks.json'] : [what, "/jwks.json?alg=#{what}"]
    alg, keys = 'ES256', '/jwks.json?alg=ES256' if what == 'forged'
    token = get.call("/token?alg=#{alg}" + (what == 'forged' ? '&forged=1' : ''))
    said = begin
      verify.call(alg, token, keys)
      'ok'
    rescue StandardError, NotImplementedError => e
      "#{e.class}: #{e.message}".lines.first.chomp.gsub(token, '(token)').tr("\t", ' ')
    end
    puts [name, version, what, said].join("\t")
  end
end
