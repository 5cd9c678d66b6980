#!/usr/bin/env bash
# Four JWT libraries that fetch key sets do not say in one way that a set cannot be had, and one
# says it with the class of an unknown kid.
#
# Node 20 and Debian 12's Python; the versions are printed. Guessed was: an error of the library
# tells "nobody can know now" (503, the client keeps its token) from "no such key" (401). In jose a
# 503 is a JOSEError like a bad signature, of no class of its own, and a lost connection a bare
# TypeError; a page in place of the set, as a proxy in between sends it, is a SyntaxError in
# jwks-rsa and get-jwks, and a ValueError that is no PyJWTError in PyJWT; there, 503 and an unknown
# kid are one PyJWKClientError, told apart by its __context__ alone.
#
# So a service that answers 401 to every error of its library logs everybody out while the
# issuer is away, and one that catches the library's errors alone breaks with a 500. Name what a bad
# token is (jose: ERR_JWKS_NO_MATCHING_KEY and what is no ERR_JOSE_GENERIC, ERR_JWKS_INVALID or
# ERR_JWKS_TIMEOUT), and answer 503 to the rest: examples/other-languages does.
#
# It takes some 10 s, ends with 1 if a library behaves otherwise, and printed:
#
#	get-jwks 11.0.3
#	  unknown kid: GetJwksError JWK_NOT_FOUND
#	  lost connection: TypeError
#	  status 503: GetJwksError JWKS_REQUEST_FAILED
#	  a page: SyntaxError
#	  {}: GetJwksError NO_JWKS
#	jose 6.2.18
#	  unknown kid: JWKSNoMatchingKey ERR_JWKS_NO_MATCHING_KEY
#	  lost connection: TypeError
#	  status 503: JOSEError ERR_JOSE_GENERIC
#	  a page: JOSEError ERR_JOSE_GENERIC
#	  {}: JWKSInvalid ERR_JWKS_INVALID
#	jwks-rsa 4.1.0
#	  unknown kid: SigningKeyNotFoundError
#	  lost connection: Error ECONNRESET
#	  status 503: JwksError
#	  a page: SyntaxError
#	  {}: JwksError
#	PyJWT 2.6.0
#	  unknown kid: PyJWKClientError, a PyJWTError
#	  lost connection: RemoteDisconnected, a ConnectionResetError
#	  status 503: PyJWKClientError, a PyJWTError
#	  a page: JSONDecodeError, a ValueError
#	  {}: PyJWKSetError, a PyJWTError
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in python3-jwt python3-cryptography python3-cffi-backend; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
	dpkg-deb -x "$p"_*.deb root
done
export PYTHONPATH=$dir/root/usr/lib/python3/dist-packages
npm init -y >/dev/null
npm install --silent --no-audit --no-fund jose@6.2.18 jwks-rsa@4.1.0 get-jwks@11.0.3 >/dev/null
cat >main.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { SignJWT, createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose'
import jwksRsa from 'jwks-rsa'
import buildGetJwks from 'get-jwks'

const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
const jwk = { ...await exportJWK(publicKey), kid: 'k', alg: 'RS256', use: 'sig' }
let answer
const answers = {
  'good': (res) => res.end(JSON.stringify({ keys: [jwk] })),
  'unknown kid': (res) => res.end(JSON.stringify({ keys: [{ ...jwk, kid: 'other' }] })),
  'lost connection': (res) => res.socket.destroy(),
  'status 503': (res) => { res.statusCode = 503; res.end('{"error":"busy"}') },
  'a page': (res) => res.end('<html>Log in to the network</html>'),
  '{}': (res) => res.end('{}'),
}
const server = http.createServer((req, res) => { res.setHeader('Connection', 'close'); answers[answer](res) })
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const url = `http://127.0.0.1:${server.address().port}`
const now = Math.floor(Date.now() / 1000)
const token = await new SignJWT({ iss: url, aud: 'a', sub: 's', iat: now, exp: now + 600 }).setProtectedHeader({ alg: 'RS256', kid: 'k' }).sign(privateKey)

const tell = (f) => () => f().then(() => 'taken', (e) => [e.constructor.name, e.code].filter(Boolean).join(' '))
const python = `
import jwt, sys
try:
    jwt.PyJWKClient(sys.argv[1]).get_signing_key_from_jwt(sys.argv[2])
    print('taken')
except Exception as e:
    print(f'{type(e).__name__}, a {type(e).__mro__[1].__name__}')
`
const run = promisify(execFile)
const python3 = async (...args) => (await run('python3', args, { env: { ...process.env, PATH: process.env.SYSTEM_PATH } })).stdout.trim()
const version = (name) => JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version
const libraries = {
  [`get-jwks ${version('get-jwks')}`]: tell(() => buildGetJwks({ jwksPath: '/' }).getJwk({ domain: url, alg: 'RS256', kid: 'k' })),
  [`jose ${version('jose')}`]: tell(() => jwtVerify(token, createRemoteJWKSet(new URL(url)))),
  [`jwks-rsa ${version('jwks-rsa')}`]: tell(() => jwksRsa({ jwksUri: url }).getSigningKey('k')),
  [`PyJWT ${await python3('-c', 'import jwt; print(jwt.__version__)')}`]: () => python3('-c', python, url, token),
}
for (const [name, ask] of Object.entries(libraries)) {
  console.log(name)
  for (answer of Object.keys(answers)) {
    const says = await ask()
    if (answer !== 'good') console.log(`  ${answer}: ${says}`)
    else if (says !== 'taken') throw new Error(`${name} refuses a good key: ${says}`)
  }
}
process.exit(0)
JS
SYSTEM_PATH=$(getconf PATH) timeout 100 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
