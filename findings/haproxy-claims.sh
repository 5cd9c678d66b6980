#!/usr/bin/env bash
# HAProxy reads no claim that is an array: a second audience makes aud vanish.
#
# HAProxy 2.6.12 (Debian 12). Guessed was: jwt_payload_query('$.aud') of an array gives its JSON text,
# or its first member. It gives nothing, as if the claim were not there; '$.aud[0]' reads the
# first member of an array, and nothing of a text. RFC 7519 section 4.1.3 lets one audience be written
# either way. So a rule for the one refuses the other: what works for years with tokens for
# "orders" refuses the first that is also for "billing". A number without 'int' is printed with
# six digits.
#
# Issuers write one audience as a text and several as an array. A rule that is to
# take both asks for '$.aud', '$.aud[0]', '$.aud[1]' and so on.
#
# It needs curl and Node, ends with 1 if HAProxy behaves otherwise, and printed:
#
#	HAProxy 2.6.12
#	{"aud":"orders","exp":1795939999}: aud [orders], aud[0] [], aud[1] [], exp [1.79594e+09], exp as int [1795939999]
#	{"aud":["orders"],"exp":1795939999}: aud [], aud[0] [orders], aud[1] [], exp [1.79594e+09], exp as int [1795939999]
#	{"aud":["billing","orders"],"exp":1795939999}: aud [], aud[0] [billing], aud[1] [orders], exp [1.79594e+09], exp as int [1795939999]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in curl node; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
trap '[ ! -e "$dir/pid" ] || kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
haproxy() { LD_LIBRARY_PATH=$(echo "$dir"/root/usr/lib/*-linux-gnu) "$dir/root/usr/sbin/haproxy" "$@"; }
port=$(node -e "const s = require('net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close() })")
cat >haproxy.cfg <<CONF
defaults
	mode http
	timeout connect 5s
	timeout client 5s
	timeout server 5s
frontend f
	bind 127.0.0.1:$port
	http-request set-var(txn.jwt) http_auth_bearer
	http-request set-var(txn.aud) var(txn.jwt),jwt_payload_query('\$.aud')
	http-request set-var(txn.aud0) var(txn.jwt),jwt_payload_query('\$.aud[0]')
	http-request set-var(txn.aud1) var(txn.jwt),jwt_payload_query('\$.aud[1]')
	http-request set-var(txn.exp) var(txn.jwt),jwt_payload_query('\$.exp')
	http-request set-var(txn.int) var(txn.jwt),jwt_payload_query('\$.exp','int')
	http-request return status 200 content-type text/plain lf-string "aud [%[var(txn.aud)]], aud[0] [%[var(txn.aud0)]], aud[1] [%[var(txn.aud1)]], exp [%[var(txn.exp)]], exp as int [%[var(txn.int)]]"
CONF
haproxy -f haproxy.cfg -D -p pid >log 2>&1 || { cat log; exit 1; }
{
	haproxy -v | sed -n '1s/.* version \([0-9.]*\).*/HAProxy \1/p'
	for aud in '"orders"' '["orders"]' '["billing","orders"]'; do
		payload='{"aud":'$aud',"exp":1795939999}'
		token=$(node -e "const text = (s) => Buffer.from(s).toString('base64url'); console.log([text('{\"alg\":\"ES256\"}'), text(process.argv[1]), 'AAAA'].join('.'))" "$payload")
		echo "$payload: $(curl -sS --noproxy '*' --retry 20 --retry-connrefused --retry-delay 1 -H "Authorization: Bearer $token" "http://127.0.0.1:$port/")"
	done
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
