#!/usr/bin/env bash
# Apache answers 200 to a logout token for a user, and ends one session of that user, or none.
#
# mod_auth_openidc 2.4.12.3 (Debian 12), as relying party with OpenID Connect Back-Channel Logout 1.0.
# Section 2.4 has a logout token with sub and without sid end all sessions of the user. One would
# think that the module looks for all of them, or says 400. It keeps one session for one text, which
# is the ID token's sid, or its sub if it has none, and the newest login takes the place
# of the one before. So a logout token without sid finds nothing where ID tokens have a sid, and
# one session of several where they have none; one with a sid that the ID token did not have finds
# nothing, though its sub is known; and of two logins under one sid the older one stays. The answer
# is always 200, so the sender takes it for done.
#
# So who ends a user's sessions sends one logout token for each sid, with the sid that is in
# the ID token, and no shorter way. A session of mod_auth_openidc that is to end with an access token
# has to present it to something that checks it.
#
# It needs Node and openssl, takes some 20 s, ends with 1 if the module behaves otherwise, and printed:
#
#	mod_auth_openidc 2.4.12.3
#	sid a and b in the ID tokens, sub and sid a in the logout token: 200; the first session has ended, the second goes on
#	sid a and b in the ID tokens, sid b in the logout token: 200; the first session goes on, the second has ended
#	sid a and b in the ID tokens, sub in the logout token: 200; the first session goes on, the second goes on
#	sid a and a in the ID tokens, sub and sid a in the logout token: 200; the first session goes on, the second has ended
#	no sid in the ID tokens, sub in the logout token: 200; the first session goes on, the second has ended
#	no sid in the ID tokens, sub and sid a in the logout token: 200; the first session goes on, the second goes on
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for program in node openssl; do command -v "$program" >/dev/null || { echo "$program is needed."; exit 1; }; done
dir=$(mktemp -d)
trap '[ ! -e "$dir/pid" ] || kill "$(cat "$dir/pid")"; rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in apache2-bin libapache2-mod-auth-openidc libapr1 libaprutil1 libaprutil1-ldap libbrotli1 libcjose0 libhiredis0.14 liblua5.3-0 libldap-2.5-0 libnghttp2-14 libsasl2-2; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1 2>/dev/null
cat >main.mjs <<'JS'
import { execFileSync } from 'node:child_process'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'

const dir = process.cwd()
const lib = fs.readdirSync(`${dir}/root/usr/lib`).filter((n) => n.endsWith('-linux-gnu')).map((n) => `${dir}/root/usr/lib/${n}`)[0]
const now = () => Math.floor(Date.now() / 1000)
const { privateKey, publicKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
const text = (x) => Buffer.from(JSON.stringify(x)).toString('base64url')
const sign = (typ, claims) => {
  const signed = `${text({ alg: 'RS256', typ, kid: 'k' })}.${text({ iss: issuer, aud: 'rp', iat: now(), exp: now() + 120, ...claims })}`
  return `${signed}.${crypto.sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`
}

// The provider. nonce and identity are those of the login that is under way.
let nonce, identity
const provider = https.createServer({ key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') }, (req, res) => {
  req.resume()
  res.setHeader('Content-Type', 'application/json')
  if (req.url === '/jwks') return res.end(JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', use: 'sig', alg: 'RS256' }] }))
  res.end(JSON.stringify({ access_token: crypto.randomUUID(), token_type: 'Bearer', expires_in: 3600, id_token: sign('JWT', { nonce, ...identity }) }))
})
await new Promise((done) => provider.listen(0, '127.0.0.1', done))
const issuer = `https://127.0.0.1:${provider.address().port}`

const port = await new Promise((done) => { const s = net.createServer().listen(0, '127.0.0.1', () => { const p = s.address().port; s.close(() => done(p)) }) })
fs.mkdirSync('www')
fs.writeFileSync('www/index', 'logged in')
fs.writeFileSync('conf', [
  `ServerRoot ${dir}`, 'ServerName localhost', `PidFile ${dir}/pid`, `ErrorLog ${dir}/log`, `DefaultRuntimeDir ${dir}`, `Mutex file:${dir} default`, `Listen 127.0.0.1:${port}`, `DocumentRoot ${dir}/www`,
  ...['mpm_event', 'authn_core', 'authz_core', 'authz_user', 'auth_openidc'].map((m) => `LoadModule ${m}_module root/usr/lib/apache2/modules/mod_${m}.so`),
  `OIDCProviderIssuer ${issuer}`, `OIDCProviderAuthorizationEndpoint ${issuer}/auth`, `OIDCProviderTokenEndpoint ${issuer}/token`, `OIDCProviderJwksUri ${issuer}/jwks`, 'OIDCProviderBackChannelLogoutSupported On',
  'OIDCSSLValidateServer Off', 'OIDCClientID rp', 'OIDCClientSecret s', `OIDCRedirectURI http://127.0.0.1:${port}/callback`, 'OIDCCryptoPassphrase p',
  '<Location />', 'AuthType openid-connect', 'Require valid-user', '</Location>',
].join('\n') + '\n')
execFileSync('root/usr/sbin/apache2', ['-f', `${dir}/conf`], { stdio: 'inherit', env: { PATH: process.env.PATH, LD_LIBRARY_PATH: lib } })

// A browser: its cookies are kept in jar.
const ask = (path, jar, form) => new Promise((done, failed) => {
  const headers = { Accept: 'text/html', Cookie: Object.entries(jar).map((c) => c.join('=')).join('; ') }
  if (form) headers['Content-Type'] = 'application/x-www-form-urlencoded'
  http.request({ port, host: '127.0.0.1', path, agent: false, method: form ? 'POST' : 'GET', headers }, (res) => {
    res.resume()
    for (const cookie of res.headers['set-cookie'] ?? []) {
      const [name, value] = cookie.split(';')[0].split('=')
      if (value) jar[name] = value
      else delete jar[name]
    }
    done(res)
  }).on('error', failed).end(form)
})
for (const end = Date.now() + 30_000; !await ask('/index', {}).catch(() => null);) {
  if (Date.now() > end) throw new Error('Apache does not start')
  await new Promise((done) => setTimeout(done, 50))
}
const login = async (claims) => {
  const jar = {}
  identity = claims
  const query = new URL((await ask('/index', jar)).headers.location).searchParams
  nonce = query.get('nonce')
  await ask(`/callback?code=c&state=${encodeURIComponent(query.get('state'))}`, jar)
  const session = async () => (await ask('/index', { ...jar })).statusCode === 200
  if (!await session()) throw new Error(fs.readFileSync('log', 'utf8'))
  return session
}
let users = 0
for (const [inID, inLogout] of [[['a', 'b'], ['sub', 'a']], [['a', 'b'], ['b']], [['a', 'b'], ['sub']], [['a', 'a'], ['sub', 'a']], [[null, null], ['sub']], [[null, null], ['sub', 'a']]]) {
  const sub = `user-${users++}`
  const named = (sid) => `${sub}-${sid}`
  const first = await login({ sub, ...inID[0] && { sid: named(inID[0]) } })
  const second = await login({ sub, ...inID[1] && { sid: named(inID[1]) } })
  const claims = { jti: crypto.randomUUID(), events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }
  for (const name of inLogout) Object.assign(claims, name === 'sub' ? { sub } : { sid: named(name) })
  const { statusCode } = await ask('/callback?logout=backchannel', {}, `logout_token=${sign('logout+jwt', claims)}`)
  const said = async (session) => await session() ? 'goes on' : 'has ended'
  console.log(`${inID[0] ? `sid ${inID.join(' and ')}` : 'no sid'} in the ID tokens, ${inLogout.map((n) => n === 'sub' ? n : `sid ${n}`).join(' and ')} in the logout token: ${statusCode}; the first session ${await said(first)}, the second ${await said(second)}`)
}
process.exit(0)
JS
{
	echo "mod_auth_openidc $(dpkg-deb -f libapache2-mod-auth-openidc_*.deb Version | sed 's/-.*//')"
	timeout 60 node main.mjs
} | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
