# HTTP servers from Debian's packages that check tokens by themselves, and libjwt. Each is
# told the algorithm, the issuer and the audience where it can be.
set -euo pipefail
dir=$(mktemp -d)
chmod 755 "$dir"
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || true; rm -rf "$dir"' EXIT

get() { curl -sS --fail "$INTEROP_URL$1"; }
# version PACKAGE prints the upstream version of a package.
version() { dpkg-query -W -f '${source:Upstream-Version}' "$1"; }
answer() { printf '%s\t%s\t%s\t%s\n' "$@"; }
# port prints a port that is free now.
port() { /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# ask URL TOKEN waits until the server takes connections, and prints ok or what it said.
ask() {
	local said
	said=$(curl -sS -o /dev/null --retry 50 --retry-connrefused --retry-delay 0 --retry-max-time 20 -w '%{http_code} %header{www-authenticate}' -H "Authorization: Bearer $2" "$1")
	case $said in
	200*) echo ok ;;
	*) printf '%s\n' "$said" ;;
	esac
}

mkdir "$dir/www"
echo ok >"$dir/www/index.html"
modules=/usr/lib/apache2/modules
apache() { # NAME PACKAGE, the configuration of a location on standard input for a set at SET
	local name=$1 package=$2 what alg set p config
	config=$(cat)
	for what in $INTEROP_ALGS mixed forged; do
		alg=$what set=/jwks.json?alg=$what forged=
		case $what in
		mixed) alg=ES256 set=/jwks.json ;;
		forged) alg=ES256 set=/jwks.json?alg=ES256 forged='&forged=1' ;;
		esac
		p=$(port)
		cat >"$dir/apache.conf" <<-EOF
			ServerName localhost
			Listen 127.0.0.1:$p
			PidFile $dir/apache.pid
			ErrorLog $dir/apache.log
			DocumentRoot $dir/www
			User www-data
			Group www-data
			LoadModule mpm_event_module $modules/mod_mpm_event.so
			LoadModule authn_core_module $modules/mod_authn_core.so
			LoadModule authz_core_module $modules/mod_authz_core.so
			LoadModule authz_user_module $modules/mod_authz_user.so
			LoadModule dir_module $modules/mod_dir.so
			${config//SET/$INTEROP_TLS_URL$set}
		EOF
		/usr/sbin/apache2 -f "$dir/apache.conf" -k start
		answer "$name" "$(version "$package")" "$what" "$(ask "http://127.0.0.1:$p/" "$(get "/token?alg=$alg$forged")")"
		kill "$(cat "$dir/apache.pid")"
		while [ -e "$dir/apache.pid" ]; do read -rt 0.1 <> <(:) || true; done
	done
}

apache mod_auth_openidc libapache2-mod-auth-openidc <<EOF
LoadModule auth_openidc_module $modules/mod_auth_openidc.so
OIDCOAuthVerifyJwksUri SET
OIDCOAuthRemoteUserClaim sub
OIDCOAuthSSLValidateServer Off
<Location />
AuthType oauth20
Require valid-user
</Location>
EOF
apache mod_oauth2 libapache2-mod-oauth2 <<EOF
LoadModule oauth2_module $modules/mod_oauth2.so
OAuth2TokenVerify jwks_uri SET jwks_uri.ssl_verify=false
OAuth2TargetPass remote_user_claim=sub
<Location />
AuthType oauth2
Require valid-user
</Location>
EOF

for what in $INTEROP_ALGS forged; do
	alg=$what forged=
	if [ "$what" = forged ]; then alg=ES256 forged='&forged=1'; fi
	p=$(port)
	get "/pem?alg=$alg" >"$dir/$alg.pem"
	cat >"$dir/haproxy.cfg" <<-EOF
		global
			pidfile $dir/haproxy.pid
		defaults
			mode http
			timeout connect 5s
			timeout client 5s
			timeout server 5s
		frontend f
			bind 127.0.0.1:$p
			http-request set-var(txn.bearer) http_auth_bearer
			http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('\$.alg')
			http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('\$.iss')
			http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('\$.exp','int')
			http-request set-var(txn.now) date()
			http-request deny deny_status 401 unless { var(txn.alg) -m str $alg }
			http-request deny deny_status 401 unless { var(txn.iss) -m str $INTEROP_ISSUER }
			http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
			http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(txn.alg,"$dir/$alg.pem") -m int 1 }
			http-request return status 200
	EOF
	if haproxy -f "$dir/haproxy.cfg" -D >"$dir/haproxy.log" 2>&1; then
		answer HAProxy "$(version haproxy)" "$what" "$(ask "http://127.0.0.1:$p/" "$(get "/token?alg=$alg$forged")")"
		kill "$(cat "$dir/haproxy.pid")"
		rm -f "$dir/haproxy.pid"
	else
		answer HAProxy "$(version haproxy)" "$what" "$(head -n 1 "$dir/haproxy.log")"
	fi
done

cat >"$dir/libjwt.c" <<'EOF'
#include <errno.h>
#include <jwt.h>
#include <stdio.h>
#include <string.h>

/* libjwt TOKEN PEM ALGORITHM ISSUER: this version checks no claims by itself. */
int main(int argc, char **argv)
{
	static unsigned char pem[8192];
	jwt_t *jwt = NULL;
	const char *iss;
	FILE *f;
	size_t n;
	if (argc != 5 || (f = fopen(argv[2], "r")) == NULL)
		return 2;
	n = fread(pem, 1, sizeof(pem) - 1, f);
	if (jwt_decode(&jwt, argv[1], pem, (int)n) != 0) {
		printf("decode: %s\n", strerror(errno));
		return 0;
	}
	iss = jwt_get_grant(jwt, "iss");
	puts(jwt_get_alg(jwt) == jwt_str_alg(argv[3]) && iss != NULL && strcmp(iss, argv[4]) == 0 ? "ok" : "not valid");
	return 0;
}
EOF
gcc -o "$dir/libjwt" "$dir/libjwt.c" -ljwt
for what in $INTEROP_ALGS forged; do
	alg=$what forged=
	if [ "$what" = forged ]; then alg=ES256 forged='&forged=1'; fi
	answer libjwt "$(version libjwt-dev)" "$what" "$("$dir/libjwt" "$(get "/token?alg=$alg$forged")" "$dir/$alg.pem" "$alg" "$INTEROP_ISSUER")"
done
