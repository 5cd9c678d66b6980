#!/usr/bin/env bash
# hapi's JWT plugin reads RSA keys alone from a key set, and no new key for an hour.
#
# Node 20, @hapi/jwt 3.2.4, @hapi/hapi 21.4.10. Guessed was: a plugin whose list of algorithms has ES256
# and EdDSA, and which takes both with a key in PEM, takes them from a key set, too, and fetches the set
# again for a kid that it does not know, as most do. It passes over each key that is not RSA: a
# set with none of them keeps the server from starting, and beside an RSA key tokens of the other get
# 401. It fetches the set once an hour, whatever tokens come, so that a new key is refused
# until then, and a removed one is good. It takes the typ at+jwt.
#
# So services behind it need RS256 or PS256, or a key in PEM, and an issuer that announces a key for
# more than an hour before it signs, as a Keyring does, also for the key that takes the place of
# a leaked one. A removed key goes sooner with a smaller staleIn of the plugin's option cache.
#
# It ends with 1 if the plugin behaves otherwise, and printed (the clock is moved by hand):
#
#	@hapi/jwt 3.2.4, @hapi/hapi 21.4.10
#	RS256, the key in PEM: 200
#	RS256, in a set: 200
#	RS256, in a set with an RSA key: 200
#	PS256, the key in PEM: 200
#	PS256, in a set: 200
#	PS256, in a set with an RSA key: 200
#	ES256, the key in PEM: 200
#	ES256, in a set: does not start, JWKS endpoint response contained no valid keys
#	ES256, in a set with an RSA key: 401
#	EdDSA, the key in PEM: 200
#	EdDSA, in a set: does not start, JWKS endpoint response contained no valid keys
#	EdDSA, in a set with an RSA key: 401
#	0 s after a change of the set: new key 401, removed key 200, fetches 1
#	600 s after a change of the set: new key 401, removed key 200, fetches 1
#	3500 s after a change of the set: new key 401, removed key 200, fetches 1
#	3700 s after a change of the set: new key 200, removed key 401, fetches 2
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent @hapi/hapi@21.4.10 @hapi/jwt@3.2.4 >/dev/null
cat >main.mjs <<'JS'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'
import Hapi from '@hapi/hapi'
import Jwt from '@hapi/jwt'

let ahead = 0
const wall = Date.now
Date.now = () => wall() + ahead

const text = (x) => Buffer.from(JSON.stringify(x)).toString('base64url')
const pair = (alg) => alg === 'ES256' ? crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }) : alg === 'EdDSA' ? crypto.generateKeyPairSync('ed25519') : crypto.generateKeyPairSync('rsa', { modulusLength: 2048 })
const token = (key, kid, alg) => {
  const now = Math.floor(Date.now() / 1000)
  const signed = `${text({ alg, typ: 'at+jwt', kid })}.${text({ iss: 'issuer', aud: 'orders', sub: 'u', iat: now, exp: now + 300 })}`
  const how = alg === 'PS256' ? { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : { dsaEncoding: 'ieee-p1363' }
  return `${signed}.${crypto.sign(alg === 'EdDSA' ? null : 'sha256', Buffer.from(signed), { key: key.privateKey, ...how }).toString('base64url')}`
}
const jwk = (key, kid, alg) => ({ ...key.publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg })

let published, fetches = 0
const server = http.createServer((_, res) => {
  fetches++
  res.setHeader('Content-Type', 'application/json')
  res.setHeader('Cache-Control', 'max-age=60')
  res.end(JSON.stringify({ keys: published }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const uri = `http://127.0.0.1:${server.address().port}/`

// The server's answer to a token, or why it does not start.
const begin = async (keys) => {
  const app = Hapi.server()
  await app.register(Jwt)
  app.auth.strategy('jwt', 'jwt', { keys, verify: { aud: 'orders', iss: 'issuer', sub: false }, validate: false })
  app.auth.default('jwt')
  app.route({ method: 'GET', path: '/', handler: () => 'ok' })
  await app.initialize()
  return async (t) => (await app.inject({ url: '/', headers: { authorization: `Bearer ${t}` } })).statusCode
}
const version = (name) => JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version
console.log(`@hapi/jwt ${version('@hapi/jwt')}, @hapi/hapi ${version('@hapi/hapi')}`)
const rsa = pair('RS256')
for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA']) {
  const key = pair(alg)
  const answer = (keys) => begin(keys).then((ask) => ask(token(key, 'key', alg)), (e) => `does not start, ${e.message}`)
  console.log(`${alg}, the key in PEM: ${await answer({ key: key.publicKey.export({ format: 'pem', type: 'spki' }), algorithms: [alg] })}`)
  published = [jwk(key, 'key', alg)]
  console.log(`${alg}, in a set: ${await answer({ uri })}`)
  published = [jwk(key, 'key', alg), jwk(rsa, 'rsa', 'RS256')]
  console.log(`${alg}, in a set with an RSA key: ${await answer({ uri })}`)
}
const old = pair('RS256'), next = pair('RS256')
published = [jwk(old, 'old', 'RS256')]
fetches = 0
const ask = await begin({ uri })
published = [jwk(next, 'next', 'RS256')]
for (const after of [0, 600, 3500, 3700]) {
  ahead = after * 1000
  await ask(token(next, 'next', 'RS256')) // begins to fetch a set that is old,
  for (const end = wall() + 20_000; after === 3700 && wall() < end && await ask(token(next, 'next', 'RS256')) !== 200;) await new Promise((done) => setTimeout(done, 20)) // and has it soon
  console.log(`${after} s after a change of the set: new key ${await ask(token(next, 'next', 'RS256'))}, removed key ${await ask(token(old, 'old', 'RS256'))}, fetches ${fetches}`)
}
process.exit(0)
JS
timeout 100 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
