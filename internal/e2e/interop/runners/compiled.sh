# Libraries for C and C++ from Debian's packages, each in a program of a few lines: cpp-jwt,
# José (with its command), Poco and Rhonabwy. They are told the algorithm or the key, and the
# issuer and the audience where they look at these.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

get() { curl -sS --fail "$INTEROP_URL$1"; }
version() { dpkg-query -W -f '${source:Upstream-Version}' "$1" | sed 's/+.*//'; }

cat >cpp-jwt.cpp <<'CPP'
#include <fstream>
#include <iostream>
#include <iterator>
#include <jwt/jwt.hpp>

static std::string read(const char *name) {
	std::ifstream f(name);
	return {std::istreambuf_iterator<char>(f), {}};
}

// cpp-jwt TOKEN KEY-FILE ALGORITHM ISSUER AUDIENCE
int main(int argc, char **argv) {
	using namespace jwt::params;
	if (argc != 6)
		return 2;
	try {
		jwt::decode(argv[1], algorithms({argv[3]}), secret(read(argv[2])), issuer(argv[4]), aud(argv[5]), verify(true));
		std::cout << "ok\n";
	} catch (const std::exception &e) {
		std::cout << e.what() << "\n";
	}
}
CPP
cat >poco.cpp <<'CPP'
#include <Poco/Crypto/ECKey.h>
#include <Poco/Crypto/RSAKey.h>
#include <Poco/JWT/Signer.h>
#include <Poco/JWT/Token.h>
#include <iostream>

// poco TOKEN KEY-FILE ALGORITHM ISSUER AUDIENCE
int main(int argc, char **argv) {
	if (argc != 6)
		return 2;
	try {
		Poco::JWT::Signer s;
		s.addAlgorithm(argv[3]);
		if (argv[3][0] == 'E')
			s.setECKey(new Poco::Crypto::ECKey(argv[2], ""));
		else
			s.setRSAKey(new Poco::Crypto::RSAKey(argv[2], ""));
		Poco::JWT::Token t = s.verify(argv[1]);
		bool good = t.getIssuer() == argv[4] && t.getAudience() == std::vector<std::string>{argv[5]} && !t.getExpiration().isElapsed(0);
		std::cout << (good ? "ok\n" : "not valid\n");
	} catch (const Poco::Exception &e) {
		std::cout << e.displayText() << "\n";
	}
}
CPP
cat >rhonabwy.c <<'C'
#include <rhonabwy.h>
#include <stdio.h>

/* rhonabwy TOKEN SET ALGORITHM ISSUER AUDIENCE */
int main(int argc, char **argv)
{
	jwt_t *jwt;
	jwks_t *set;
	if (argc != 6 || r_global_init() != RHN_OK || r_jwt_init(&jwt) != RHN_OK)
		return 2;
	set = r_jwks_quick_import(R_IMPORT_JSON_STR, argv[2], R_IMPORT_NONE);
	if (r_jwt_parse(jwt, argv[1], 0) != RHN_OK || r_jwt_add_sign_jwks(jwt, NULL, set) != RHN_OK)
		puts("parse");
	else if (r_jwt_get_sign_alg(jwt) != r_str_to_jwa_alg(argv[3]) || r_jwt_verify_signature(jwt, NULL, 0) != RHN_OK)
		puts("signature");
	else if (r_jwt_validate_claims(jwt, R_JWT_CLAIM_TYP, "at+jwt", R_JWT_CLAIM_ISS, argv[4], R_JWT_CLAIM_AUD, argv[5],
			R_JWT_CLAIM_EXP, R_JWT_CLAIM_NOW, R_JWT_CLAIM_IAT, R_JWT_CLAIM_NOW, R_JWT_CLAIM_NOP) != RHN_OK)
		puts("claims");
	else
		puts("ok");
	return 0;
}
C
g++ -std=c++14 -w -o cpp-jwt cpp-jwt.cpp -lcrypto
g++ -w -o poco poco.cpp -lPocoJWT -lPocoCrypto -lPocoJSON -lPocoFoundation
gcc -o rhonabwy rhonabwy.c -lrhonabwy

for what in $INTEROP_ALGS mixed forged; do
	alg=$what set=/jwks.json?alg=$what forged=
	case $what in
	mixed) alg=ES256 set=/jwks.json ;;
	forged) alg=ES256 set=/jwks.json?alg=ES256 forged='&forged=1' ;;
	esac
	get "$set" >set.json
	get "/pem?alg=$alg" >key.pem
	token=$(get "/token?alg=$alg$forged")
	answer() { printf '%s\t%s\t%s\t%s\n' "$1" "$(version "$2")" "$what" "$3"; }
	told=("$alg" "$INTEROP_ISSUER" "$INTEROP_AUDIENCE")
	if [ "$what" != mixed ]; then # these are given one key
		answer cpp-jwt libcpp-jwt-dev "$(./cpp-jwt "$token" key.pem "${told[@]}")"
		answer Poco libpoco-dev "$(./poco "$token" key.pem "${told[@]}")"
	fi
	answer Rhonabwy librhonabwy-dev "$(./rhonabwy "$token" "$(cat set.json)" "${told[@]}")"
	if jose jws ver -i <(printf %s "$token") -k set.json -O /dev/null 2>jose.log; then
		answer José jose ok
	else
		answer José jose "$(head -n 1 jose.log)"
	fi
done
