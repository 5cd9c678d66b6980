#!/usr/bin/env bash
# google-auth-library takes the API's word that a token is no good only where it does not know when the token expires.
#
# Node 20; the versions are printed. Guessed was: a client with a refresh token, told 401 and
# invalid_token, refreshes and sends the request again, once (RFC 6750 section 3.1: "The client MAY
# request a new access token and retry the protected resource request"), and leaves a 403 alone, for
# which a new token is no help. So does @badgateway/oauth2-client. google-auth-library does so only
# where it does not know when the token expires, and then for a 403 as well; after a refresh of its
# own it knows. With an expiry ahead it gives each 401 to its caller until then, unless it is told
# forceRefreshOnFailure. openid-client has a fetch that adds a token, and leaves refreshing to its
# caller.
#
# So access tokens that are revoked while their session lives, such as those that a leaked key has
# signed, are sent for the rest of their life by such a client, though one refresh would do: set
# forceRefreshOnFailure, or refresh at a 401 in the application, once.
#
# It ends with 1 if a client behaves otherwise, and printed:
#
#	@badgateway/oauth2-client 3.3.1, 401: old token, refresh, new token
#	@badgateway/oauth2-client 3.3.1, 403: old token
#	google-auth-library 10.9.1, no expiry, 401: old token, refresh, new token
#	google-auth-library 10.9.1, no expiry, 403: old token, refresh, new token
#	google-auth-library 10.9.1, expiry in 15 minutes, 401: old token
#	google-auth-library 10.9.1, expiry in 15 minutes, 403: old token
#	google-auth-library 10.9.1, expiry in 15 minutes, forceRefreshOnFailure, 401: old token, refresh, new token
#	google-auth-library 10.9.1, expiry in 15 minutes, forceRefreshOnFailure, 403: old token, refresh, new token
#	openid-client 6.9.0, 401: old token
#	openid-client 6.9.0, 403: old token
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent @badgateway/oauth2-client@3.3.1 google-auth-library@10.9.1 openid-client@6.9.0 >/dev/null
cat >main.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'
import { OAuth2Client, OAuth2Fetch } from '@badgateway/oauth2-client'
import google from 'google-auth-library'
import * as openid from 'openid-client'

// An API that refuses the token "revoked" with the status of its path, and a token endpoint.
let seen
const server = http.createServer((req, res) => {
  req.resume()
  res.setHeader('Content-Type', 'application/json')
  if (req.url === '/token') {
    seen.push('refresh')
    return res.end(JSON.stringify({ access_token: 'new', token_type: 'Bearer', expires_in: 900, refresh_token: 'next' }))
  }
  const revoked = req.headers.authorization === 'Bearer revoked'
  seen.push(revoked ? 'old token' : 'new token')
  if (!revoked) return res.end('{}')
  const error = req.url === '/401' ? 'invalid_token' : 'insufficient_scope'
  res.writeHead(Number(req.url.slice(1)), { 'WWW-Authenticate': `Bearer error="${error}"` })
  res.end(JSON.stringify({ error }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const url = `http://127.0.0.1:${server.address().port}`

const byGoogle = (expiry_date, more) => async (to) => {
  const c = new google.OAuth2Client({ clientId: 'c', endpoints: { oauth2TokenUrl: `${url}/token` }, ...more })
  c.setCredentials({ access_token: 'revoked', refresh_token: 'refresh', expiry_date })
  await c.request({ url: to, method: 'POST', data: {} })
}
const soon = Date.now() + 900_000
const clients = {
  '@badgateway/oauth2-client': {
    '': async (to) => {
      let store = { accessToken: 'revoked', refreshToken: 'refresh', expiresAt: soon }
      const c = new OAuth2Fetch({
        client: new OAuth2Client({ clientId: 'c', server: url, tokenEndpoint: '/token' }), scheduleRefresh: false,
        getStoredToken: () => store, storeToken: (t) => { store = t }, getNewToken: () => null,
      })
      await new Promise((done) => setTimeout(done, 20)) // it loads the stored token by itself
      await c.fetch(to, { method: 'POST', body: '{}' })
    },
  },
  'google-auth-library': {
    ', no expiry': byGoogle(),
    ', expiry in 15 minutes': byGoogle(soon),
    ', expiry in 15 minutes, forceRefreshOnFailure': byGoogle(soon, { forceRefreshOnFailure: true }),
  },
  'openid-client': {
    '': async (to) => {
      const c = new openid.Configuration({ issuer: url, token_endpoint: `${url}/token` }, 'c', 's')
      openid.allowInsecureRequests(c)
      await openid.fetchProtectedResource(c, 'revoked', new URL(to), 'POST', '{}')
    },
  },
}
for (const [name, variants] of Object.entries(clients)) {
  const version = JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version
  for (const [more, ask] of Object.entries(variants)) {
    for (const status of [401, 403]) {
      seen = []
      await ask(`${url}/${status}`).catch(() => {})
      console.log(`${name} ${version}${more}, ${status}: ${seen.join(', ')}`)
    }
  }
}
process.exit(0)
JS
timeout 60 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
