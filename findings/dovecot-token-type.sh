#!/usr/bin/env bash
# Dovecot takes no token of RFC 9068, and keeps a key that has gone from its folder.
#
# Dovecot 2.3.19.1 (Debian 12), which checks JWTs by itself with "introspection_mode = local".
# Guessed was: it reads the signature and iss, aud, exp of an access token, and leaves typ alone.
# It accepts typ "JWT" and nothing else: for at+jwt, which RFC 9068 section 2.1 demands, it
# says that it cannot find the member. And it keeps each key that it has read for as long as
# its process lives: a file that is deleted, as after a leak, is used on.
#
# So mail servers cannot be given these tokens directly; they have to ask an introspection endpoint
# (RFC 7662), which can also say at once what has been revoked.
#
# It needs root (Dovecot changes its user) and Node, ends with 1 if Dovecot behaves otherwise,
# and printed:
#
#	Dovecot 2.3.19.1
#	typ JWT: accepted
#	typ at+jwt: refused, Local validation failed: Cannot find 'typ' field
#	typ JWT, its key deleted: accepted
#	typ JWT, its key deleted, after a restart: refused, Local validation failed: ES256 key 'key-1' not found
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
[ "$(id -u)" = 0 ] || { echo "Dovecot has to be started as root."; exit 1; }
dir=$(mktemp -d)
bin=$dir/root/usr
export LD_LIBRARY_PATH=$bin/lib/dovecot:$bin/lib/x86_64-linux-gnu:$bin/lib/aarch64-linux-gnu
stop() { [ ! -e "$dir/run/master.pid" ] || "$bin/bin/doveadm" -c "$dir/dovecot.conf" stop; }
trap 'stop || true; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in dovecot-core libexttextcat-2.0-0 liblua5.3-0 libsodium23 libunwind8 libwrap0; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
mkdir -p run keys/default/ES256 state
cat >dovecot.conf <<CONF
base_dir = $dir/run
state_dir = $dir/state
libexec_dir = $bin/lib/dovecot
auth_verbose = yes
log_path = $dir/log
import_environment = LD_LIBRARY_PATH
protocols =
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
auth_mechanisms = plain
passdb {
  driver = oauth2
  args = $dir/oauth2.conf
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}
CONF
cat >oauth2.conf <<CONF
introspection_mode = local
local_validation_key_dict = fs:posix:prefix=$dir/keys/
username_attribute = sub
issuers = https://auth.example.com
CONF
cat >issue.mjs <<'JS'
import crypto from 'node:crypto'
import fs from 'node:fs'
const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
fs.writeFileSync('keys/default/ES256/key-1', publicKey.export({ type: 'spki', format: 'pem' }))
const text = (x) => Buffer.from(JSON.stringify(x)).toString('base64url')
const now = Math.floor(Date.now() / 1000)
for (const typ of ['JWT', 'at+jwt']) {
  const signed = `${text({ alg: 'ES256', typ, kid: 'key-1' })}.${text({ iss: 'https://auth.example.com', sub: 'user-1', aud: 'mail', client_id: 'c', jti: 'j', iat: now, exp: now + 300 })}`
  fs.writeFileSync(typ, `${signed}.${crypto.sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`)
}
JS
node issue.mjs
start() { "$bin/sbin/dovecot" -c "$dir/dovecot.conf"; }
ask() { # TYP WHAT
	local why
	if "$bin/bin/doveadm" -c "$dir/dovecot.conf" auth test user-1 "$(cat "$1")" >asked 2>&1; then
		echo "$2: accepted"
	else
		why=$(sed -n 's/.*oauth2 failed: //p' log | tail -n 1)
		echo "$2: refused, ${why:-$(cat asked)}"
	fi
}
{
	echo "Dovecot $("$bin/sbin/dovecot" --version | cut -d' ' -f1)"
	start
	ask JWT 'typ JWT'
	ask at+jwt 'typ at+jwt'
	rm keys/default/ES256/key-1
	ask JWT 'typ JWT, its key deleted'
	stop
	while [ -e run/master.pid ]; do read -rt 0.1 <> <(:) || true; done
	start
	ask JWT 'typ JWT, its key deleted, after a restart'
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
