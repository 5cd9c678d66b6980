#!/usr/bin/env bash
# One algorithm, two names: EdDSA and Ed25519 do not meet in JavaScript.
#
# jose 6.2.18, oauth4webapi 3.8.8, fast-jwt 6.3.6, Node 20. RFC 9864 names Ed25519 what RFC 8037
# calls EdDSA with a key on Ed25519, and deprecates the old name; the signatures are the same
# bytes. These libraries compare the names: a JWK whose alg is one of them verifies no token
# that says the other, and who is told to accept one refuses the other. fast-jwt knows EdDSA
# alone. So a JWK and its tokens need one name, and EdDSA is taken by more.
#
# It ends with 1 if they behave otherwise, and printed:
#
#	jwk EdDSA, token EdDSA: jose yes, jose told EdDSA yes, jose told Ed25519 no, oauth4webapi yes, fast-jwt yes
#	jwk EdDSA, token Ed25519: jose no, jose told EdDSA no, jose told Ed25519 no, oauth4webapi no, fast-jwt no
#	jwk Ed25519, token EdDSA: jose no, jose told EdDSA no, jose told Ed25519 no, oauth4webapi no, fast-jwt yes
#	jwk Ed25519, token Ed25519: jose yes, jose told EdDSA no, jose told Ed25519 yes, oauth4webapi yes, fast-jwt no
#	jwk without, token EdDSA: jose yes, jose told EdDSA yes, jose told Ed25519 no, oauth4webapi yes, fast-jwt yes
#	jwk without, token Ed25519: jose yes, jose told EdDSA no, jose told Ed25519 yes, oauth4webapi yes, fast-jwt no
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent jose@6.2.18 oauth4webapi@3.8.8 fast-jwt@6.3.6 >/dev/null
cat >main.mjs <<'JS'
import crypto from 'node:crypto'
import http from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import { createVerifier } from 'fast-jwt'

const { privateKey, publicKey } = crypto.generateKeyPairSync('ed25519')
const text = (x) => Buffer.from(JSON.stringify(x)).toString('base64url')
let alg, issuer
const server = http.createServer((_, res) => {
  res.setHeader('Content-Type', 'application/json')
  res.end(JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', use: 'sig', alg }] }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
issuer = `http://127.0.0.1:${server.address().port}`
const keys = () => createRemoteJWKSet(new URL(issuer))
const clients = {
  'jose': (t) => jwtVerify(t, keys()),
  'jose told EdDSA': (t) => jwtVerify(t, keys(), { algorithms: ['EdDSA'] }),
  'jose told Ed25519': (t) => jwtVerify(t, keys(), { algorithms: ['Ed25519'] }),
  'oauth4webapi': (t) => oauth.validateJwtAccessToken({ issuer, jwks_uri: issuer }, new Request(issuer, { headers: { authorization: `Bearer ${t}` } }), 'orders', { [oauth.allowInsecureRequests]: true }),
  'fast-jwt': async (t) => createVerifier({ key: publicKey.export({ type: 'spki', format: 'pem' }) })(t),
}
for (alg of ['EdDSA', 'Ed25519', undefined]) {
  for (const name of ['EdDSA', 'Ed25519']) {
    const now = Math.floor(Date.now() / 1000)
    const signed = `${text({ alg: name, typ: 'at+jwt', kid: 'k' })}.${text({ iss: issuer, aud: 'orders', sub: 'u', client_id: 'c', jti: 'j', iat: now, exp: now + 300 })}`
    const token = `${signed}.${crypto.sign(null, Buffer.from(signed), privateKey).toString('base64url')}`
    const said = []
    for (const [client, verify] of Object.entries(clients)) {
      said.push(`${client} ${await Promise.resolve().then(() => verify(token)).then(() => 'yes', () => 'no')}`)
    }
    console.log(`jwk ${alg ?? 'without'}, token ${name}: ${said.join(', ')}`)
  }
}
server.close()
JS
node main.mjs | tee out
grep -P '^#\tjwk' "$here" | cut -c3- | cmp - out
