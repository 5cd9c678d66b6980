#!/usr/bin/env bash
# nginx asks for one request twice, and a DPoP proof is good for one answer.
#
# nginx 1.22.1 (Debian 12). Guessed was: auth_request asks once for each request of a client. It asks
# anew in each location that the request comes to by an internal redirect: the last file of
# try_files, an index, an error_page, an X-Accel-Redirect, also to a named location; "rewrite ... last"
# comes before it and does not count. Both questions name the same URI, that of the client, and hold the
# same headers. A checking side that takes each DPoP proof once, as RFC 9449 section 11.1
# has it, answers 401 to the second, and the client is told that its good token is not: behind
# X-Accel-Redirect once the backend has done the work already.
#
# So a location that is reached by redirects alone is internal, and has auth_request off: it is
# asked once, in the location that the client came to: docs/forward-auth.md.
#
# It needs curl and Node, ends with 1 if nginx behaves otherwise, and printed:
#
#	nginx 1.22.1
#	proxied: asked 1 time, 200; with a proof that is good once: 200
#	try_files to a file: asked 2 times, 200; with a proof that is good once: 401
#	try_files to a named location: asked 2 times, 200; with a proof that is good once: 401
#	an index: asked 2 times, 200; with a proof that is good once: 401
#	error_page after the backend's 404: asked 2 times, 404; with a proof that is good once: 401
#	X-Accel-Redirect: asked 2 times, 200; with a proof that is good once: 401
#	X-Accel-Redirect to auth_request off: asked 1 time, 200; with a proof that is good once: 200
#	rewrite: asked 1 time, 200; with a proof that is good once: 200
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in curl node; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
node=
trap 'for p in "$dir"/nginx.pid; do [ ! -e "$p" ] || kill "$(cat "$p")"; done; [ -z "$node" ] || kill "$node"; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
apt-get download -q nginx >/dev/null 2>&1 || { echo "Debian's package nginx cannot be had (apt-get update?)"; exit 1; }
dpkg-deb -x nginx_*.deb root
nginx() { "$dir/root/usr/sbin/nginx" "$@"; }
free() { node -e "const s = require('net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close() })"; }
port=$(free)
cat >services.mjs <<'JS'
import http from 'node:http'
let asked = 0
const used = new Set()
// The checking side: a request without a proof is let through, each proof once. Under /asked
// it says how often it was asked since.
const auth = http.createServer((q, r) => {
  if (q.url === '/asked') { r.end(String(asked)); asked = 0; return }
  asked++
  const proof = q.headers.dpop
  r.statusCode = proof && used.has(proof) ? 401 : 200
  used.add(proof)
  r.end()
})
const backend = http.createServer((q, r) => {
  if (q.url.startsWith('/missing')) r.statusCode = 404
  if (q.url.startsWith('/accel')) r.setHeader('X-Accel-Redirect', q.url.replace('/accel', '/files'))
  if (q.url.startsWith('/off')) r.setHeader('X-Accel-Redirect', q.url.replace('/off', '/unasked'))
  r.end('backend')
})
const ports = await Promise.all([auth, backend].map((s) => new Promise((done) => s.listen(0, '127.0.0.1', () => done(s.address().port)))))
console.log(ports.join(' '))
JS
mkfifo up
node services.mjs >up &
node=$!
read -r auth backend <up
mkdir -p www/folder
for f in app.html folder/index.html error.html file; do echo "$f" >"www/$f"; done
chmod -R a+rX www
cat >nginx.conf <<CONF
pid $dir/nginx.pid;
error_log $dir/nginx.log;
events {}
http {
	access_log off;
	$(for n in client_body proxy fastcgi uwsgi scgi; do echo "${n}_temp_path $dir/nginx-$n;"; done)
	server {
		listen 127.0.0.1:$port;
		root $dir/www;
		auth_request /_auth;
		location = /_auth {
			internal;
			auth_request off;
			proxy_pass http://127.0.0.1:$auth/;
		}
		location / { proxy_pass http://127.0.0.1:$backend; }
		location /pages/ { try_files \$uri /app.html; }
		location = /app.html {}
		location /named/ { try_files \$uri @backend; }
		location @backend { proxy_pass http://127.0.0.1:$backend; }
		location /folder/ {}
		location /missing { proxy_pass http://127.0.0.1:$backend; proxy_intercept_errors on; error_page 404 /error.html; }
		location = /error.html {}
		location /files { internal; alias $dir/www/file; }
		location /unasked { internal; auth_request off; alias $dir/www/file; }
		location /old { rewrite ^ /new last; }
	}
}
CONF
nginx -c "$dir/nginx.conf" -p "$dir"
ask() { curl -sS --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 -o /dev/null -w '%{http_code}' "$@"; }
asked() { curl -sS --noproxy '*' "http://127.0.0.1:$auth/asked"; }
{
	echo "nginx $(nginx -v 2>&1 | sed 's#.*/##')"
	while IFS='|' read -r path what; do
		status=$(ask "http://127.0.0.1:$port$path")
		n=$(asked)
		once=$(ask -H "DPoP: proof-for-$path" "http://127.0.0.1:$port$path")
		asked >/dev/null
		echo "$what: asked $n time$([ "$n" = 1 ] || echo s), $status; with a proof that is good once: $once"
	done <<'CASES'
/some|proxied
/pages/some|try_files to a file
/named/some|try_files to a named location
/folder/|an index
/missing|error_page after the backend's 404
/accel|X-Accel-Redirect
/off|X-Accel-Redirect to auth_request off
/old|rewrite
CASES
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
