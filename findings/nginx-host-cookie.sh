#!/usr/bin/env bash
# nginx has no variable for a cookie whose name begins with __Host-.
#
# nginx 1.22.1, HAProxy 2.6.12 (Debian 12). Guessed was: as $http_x_request_id reads X-Request-ID,
# $cookie___Host_at reads the cookie __Host-at. A header's hyphens become underscores, a cookie's do not,
# and a variable's name has none, so that the variable is empty for ever, without a complaint when nginx starts;
# "$cookie___Host-at" is an empty variable and the text "-at". It would read __Host_at, or __HOST_AT:
# letters of either case are the same to it, though cookies AT and at are two. HAProxy reads the name
# to the letter.
#
# So a gateway that hands the access token of a cookie on as "Authorization: Bearer", or counts
# requests by session, uses a map of $http_cookie, as below, and tests it with a real cookie: an
# empty key is one that limit_req does not count (says its documentation).
#
# It needs curl and Node, ends with 1 if they behave otherwise, and printed:
#
#	nginx 1.22.1, HAProxy 2.6.12
#	Cookie: lang=en; __Host-at=secret
#	  nginx, $cookie___Host_at: []
#	  nginx, $cookie___Host-at: [-at]
#	  nginx, a map of $http_cookie: [secret]
#	  HAProxy, req.cook(__Host-at): [secret]
#	Cookie: lang=en; __HOST_AT=other
#	  nginx, $cookie___Host_at: [other]
#	  nginx, $cookie___Host-at: [-at]
#	  nginx, a map of $http_cookie: []
#	  HAProxy, req.cook(__Host-at): []
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in curl node; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
trap 'for p in "$dir"/*.pid; do [ ! -e "$p" ] || kill "$(cat "$p")"; done; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 nginx; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
run() { LD_LIBRARY_PATH=$(echo "$dir"/root/usr/lib/*-linux-gnu) "$dir/root/usr/sbin/$1" "${@:2}"; }
free() { node -e "const s = require('net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close() })"; }
nginx=$(free) haproxy=$(free)
cat >nginx.conf <<CONF
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events {}
http {
	access_log off;
	$(for n in client_body proxy fastcgi uwsgi scgi; do echo "${n}_temp_path $dir/nginx-$n;"; done)
	map \$http_cookie \$host_at {
		"~(?:^|; )__Host-at=(?<at>[^;]*)" \$at;
	}
	server {
		listen 127.0.0.1:$nginx;
		location / {
			return 200 "  nginx, \${dollar}cookie___Host_at: [\$cookie___Host_at]\\n  nginx, \${dollar}cookie___Host-at: [\$cookie___Host-at]\\n  nginx, a map of \${dollar}http_cookie: [\$host_at]\\n";
		}
	}
	geo \$dollar {
		default "\$";
	}
}
CONF
cat >haproxy.cfg <<CONF
defaults
	mode http
	timeout connect 5s
	timeout client 5s
	timeout server 5s
frontend f
	bind 127.0.0.1:$haproxy
	http-request return status 200 content-type text/plain lf-string "  HAProxy, req.cook(__Host-at): [%[req.cook(__Host-at)]]\\n"
CONF
run nginx -c "$dir/nginx.conf" -p "$dir"
run haproxy -f haproxy.cfg -D -p haproxy.pid >log 2>&1 || { cat log; exit 1; }
ask() { curl -sS --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 -H "$1" "http://127.0.0.1:$2/"; }
{
	echo "nginx $(run nginx -v 2>&1 | sed 's#.*/##'), HAProxy $(run haproxy -v | sed -n '1s/.* version \([0-9.]*\).*/\1/p')"
	for cookie in '__Host-at=secret' '__HOST_AT=other'; do
		echo "Cookie: lang=en; $cookie"
		ask "Cookie: lang=en; $cookie" "$nginx"
		ask "Cookie: lang=en; $cookie" "$haproxy"
	done
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
