#!/usr/bin/env bash
# Asking an introspection endpoint does not end a revoked token: one verifier keeps the answer until exp.
#
# mod_auth_openidc 2.4.12.3 and mod_oauth2 3.3.1, for Apache (Debian 12). Guessed was: who asks an
# introspection endpoint (RFC 7662) asks with each request, or keeps an answer for a minute or
# so, and tells the client 503 while the endpoint says 503. mod_auth_openidc keeps "active": true
# for as long as exp of the answer says, and asks with each request if exp is missing, or has
# a fraction, which a NumericDate may have (RFC 7519 section 2). mod_oauth2 keeps it for five
# minutes. Both say invalid_token while the endpoint says 503, which tells a client to drop its
# token. Neither keeps "active": false.
#
# So a revocation is immediate at neither unless it is told so: mod_auth_openidc by
# OIDCOAuthTokenIntrospectionInterval (-1 has it ask with each request), mod_oauth2 by expiry=.
#
# It needs Node and openssl, moves Apache's clock, ends with 1 if the modules behave otherwise,
# and printed:
#
#	mod_auth_openidc 2.4.12.3
#	  exp in an hour: asked 1 time for 3 requests; revoked, and let in after 0 61 299 3590 s, not after 3610 s
#	  exp in an hour and a half second: asked 3 times for 3 requests; revoked, and refused at once
#	  no exp: asked 3 times for 3 requests; revoked, and refused at once
#	  503 with Retry-After: 401, Bearer error="invalid_token"; active again, and let in at once
#	mod_auth_openidc 2.4.12.3, OIDCOAuthTokenIntrospectionInterval 60
#	  exp in an hour: asked 1 time for 3 requests; revoked, and let in after 0 s, not after 61 299 3590 3610 s
#	mod_auth_openidc 2.4.12.3, OIDCOAuthTokenIntrospectionInterval -1
#	  exp in an hour: asked 3 times for 3 requests; revoked, and refused at once
#	mod_oauth2 3.3.1
#	  exp in an hour: asked 1 time for 3 requests; revoked, and let in after 0 61 299 s, not after 3590 3610 s
#	  exp in an hour and a half second: asked 1 time for 3 requests; revoked, and let in after 0 61 299 s, not after 3590 3610 s
#	  no exp: asked 1 time for 3 requests; revoked, and let in after 0 61 299 s, not after 3590 3610 s
#	  503 with Retry-After: 401, Bearer error="invalid_token"; active again, and let in at once
#	mod_oauth2 3.3.1, expiry=60
#	  exp in an hour: asked 1 time for 3 requests; revoked, and let in after 0 s, not after 61 299 3590 3610 s
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in node openssl; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
trap '[ ! -e "$dir/pid" ] || kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in apache2-bin libapache2-mod-auth-openidc libapache2-mod-oauth2 libapr1 libaprutil1 libaprutil1-ldap libbrotli1 libcjose0 libhashkit2 \
	libhiredis0.14 liblua5.3-0 libldap-2.5-0 libmemcached11 libnghttp2-14 liboauth2-0 liboauth2-apache0 libsasl2-2 libfaketime; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1 2>/dev/null
cat >main.mjs <<'JS'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'

const dir = process.cwd()
const lib = fs.readdirSync(`${dir}/root/usr/lib`).filter((n) => n.endsWith('-linux-gnu')).map((n) => `${dir}/root/usr/lib/${n}`)[0]

// The introspection endpoint, for which mod_auth_openidc demands https.
let status, answer, asked = 0
const endpoint = https.createServer({ key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') }, (req, res) => {
  asked++
  req.resume()
  res.writeHead(status, { 'Content-Type': 'application/json', ...status === 503 && { 'Retry-After': '2' } })
  res.end(JSON.stringify(answer))
})
await new Promise((done) => endpoint.listen(0, '127.0.0.1', done))
const url = `https://127.0.0.1:${endpoint.address().port}/introspect`

const port = await new Promise((done) => { const s = net.createServer().listen(0, '127.0.0.1', () => { const p = s.address().port; s.close(() => done(p)) }) })
fs.mkdirSync('www')
fs.writeFileSync('www/index', 'let in')
const clock = (seconds) => fs.writeFileSync('clock', `+${seconds}`)
const start = (module, lines) => {
  clock(0)
  fs.writeFileSync('conf', [
    `ServerRoot ${dir}`, 'ServerName localhost', `PidFile ${dir}/pid`, `ErrorLog ${dir}/log`, `DefaultRuntimeDir ${dir}`, `Mutex file:${dir} default`, `Listen 127.0.0.1:${port}`, `DocumentRoot ${dir}/www`,
    ...['mpm_event', 'authn_core', 'authz_core', 'authz_user', module].map((m) => `LoadModule ${m}_module root/usr/lib/apache2/modules/mod_${m}.so`), ...lines,
  ].join('\n') + '\n')
  execFileSync('root/usr/sbin/apache2', ['-f', `${dir}/conf`], { stdio: 'inherit', env: {
    PATH: process.env.PATH, LD_LIBRARY_PATH: lib, LD_PRELOAD: `${lib}/faketime/libfaketimeMT.so.1`, FAKETIME_TIMESTAMP_FILE: `${dir}/clock`, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1',
  } })
}
const until = async (true_) => { for (const end = Date.now() + 30_000; !await true_();) { if (Date.now() > end) throw new Error('waited in vain'); await new Promise((done) => setTimeout(done, 50)) } }
const stop = async () => {
  process.kill(+fs.readFileSync('pid', 'utf8'))
  await until(() => !fs.existsSync('pid'))
}
const ask = (token) => new Promise((done, failed) => http.get({ port, host: '127.0.0.1', path: '/index', agent: false, headers: token && { Authorization: `Bearer ${token}` } }, (res) => { res.resume(); done(res) }).on('error', failed))

let serial = 0
const active = (more) => { status = 200; answer = { active: true, sub: 'user-1', client_id: 'c', scope: 'a', ...more } }
const revoke = () => { status = 200; answer = { active: false } }
const now = () => Math.floor(Date.now() / 1000)
const kept = async (what, more) => {
  const token = `opaque-${serial++}`
  clock(0)
  active(more())
  asked = 0
  for (let i = 0; i < 3; i++) if ((await ask(token)).statusCode !== 200) throw new Error(fs.readFileSync('log', 'utf8'))
  const times = asked
  revoke()
  const [yes, no] = [[], []]
  for (const at of [0, 61, 299, 3590, 3610]) {
    clock(at)
    ;((await ask(token)).statusCode === 200 ? yes : no).push(at)
  }
  console.log(`  ${what}: asked ${times} time${times > 1 ? 's' : ''} for 3 requests; revoked, and ${yes.length ? `let in after ${yes.join(' ')} s, not after ${no.join(' ')} s` : 'refused at once'}`)
}
const hour = () => ({ exp: now() + 3600 })
const whole = async () => {
  await kept('exp in an hour', hour)
  await kept('exp in an hour and a half second', () => ({ exp: now() + 3600.5 }))
  await kept('no exp', () => ({}))
  clock(0)
  const token = `opaque-${serial++}`
  status = 503
  answer = {}
  const res = await ask(token)
  active(hour())
  const again = (await ask(token)).statusCode
  console.log(`  503 with Retry-After: ${res.statusCode}, ${res.headers['www-authenticate']?.match(/^Bearer.*?error="\w+"/)[0]}; active again, and ${again === 200 ? 'let in at once' : again}`)
}
const openidc = (...more) => ['auth_openidc', [`OIDCOAuthIntrospectionEndpoint ${url}`, 'OIDCOAuthSSLValidateServer Off', 'OIDCOAuthClientID rs', 'OIDCOAuthClientSecret s', 'OIDCOAuthRemoteUserClaim sub', ...more, '<Location />', 'AuthType oauth20', 'Require valid-user', '</Location>']]
const oauth2 = (more = '') => ['oauth2', ['<Location />', 'AuthType oauth2', `OAuth2TokenVerify introspect ${url} introspect.ssl_verify=false&introspect.auth=client_secret_basic&client_id=rs&client_secret=s${more}`, 'Require valid-user', '</Location>']]
const [, , openidcVersion, oauth2Version] = process.argv
const one = () => kept('exp in an hour', hour)
for (const [title, conf, what] of [
  [openidcVersion, openidc(), whole],
  [`${openidcVersion}, OIDCOAuthTokenIntrospectionInterval 60`, openidc('OIDCOAuthTokenIntrospectionInterval 60'), one],
  [`${openidcVersion}, OIDCOAuthTokenIntrospectionInterval -1`, openidc('OIDCOAuthTokenIntrospectionInterval -1'), one],
  [oauth2Version, oauth2(), whole],
  [`${oauth2Version}, expiry=60`, oauth2('&expiry=60'), one],
]) {
  console.log(title)
  start(...conf)
  await until(() => ask().then(() => true, () => false))
  await what()
  await stop()
}
process.exit(0)
JS
version() { dpkg-deb -f "$1"_*.deb Version | sed 's/-.*//'; }
timeout 100 node main.mjs "mod_auth_openidc $(version libapache2-mod-auth-openidc)" "mod_oauth2 $(version libapache2-mod-oauth2)" | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
