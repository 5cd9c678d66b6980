#!/usr/bin/env bash
# An access token of five minutes is refreshed before each call by one OAuth client, and one of a minute every second by another.
#
# Node 20; the versions are printed. Guessed was: a client that refreshes early, five minutes or one
# before the token expires, does so once for each token, and takes a part of its life where that is
# shorter. google-auth-library takes a token with five minutes or less to live for expired, so that one
# that never had more is good for one call, and each call waits for a refresh. oidc-client-ts announces
# the end a minute before, or in a second if that has passed: a tab with tokens of a minute refreshes
# every second, for as long as it is open. @badgateway/oauth2-client refreshes once.
#
# So access tokens for such clients live longer than that, with a margin, or the client is told a
# shorter time: eagerRefreshThresholdMillis of google-auth-library,
# accessTokenExpiringNotificationTimeInSeconds of oidc-client-ts.
#
# It takes some 30 s, ends with 1 if a client behaves otherwise, and printed:
#
#	google-auth-library 10.9.1, five calls
#	  of 900 s: 1 refresh
#	  of 301 s: 1 refresh
#	  of 300 s: 5 refreshes
#	  of 300 s, eagerRefreshThresholdMillis 30000: 1 refresh
#	@badgateway/oauth2-client 3.3.1, five calls
#	  of 900 s: 1 refresh
#	  of 300 s: 1 refresh
#	  of 60 s: 1 refresh
#	oidc-client-ts 3.5.0, open for some seconds
#	  of 900 s: no refresh by itself
#	  of 120 s: no refresh by itself
#	  of 60 s: refreshes again and again
#	  of 60 s, accessTokenExpiringNotificationTimeInSeconds 20: no refresh by itself
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent @badgateway/oauth2-client@3.3.1 google-auth-library@10.9.1 oidc-client-ts@3.5.0 jsdom@26.1.0 >/dev/null
cat >main.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'
import { OAuth2Client, OAuth2Fetch } from '@badgateway/oauth2-client'
import google from 'google-auth-library'
import { JSDOM } from 'jsdom'

// A token endpoint and an API.
let life, sent, serial = 0
const server = http.createServer((req, res) => {
  req.resume()
  res.setHeader('Content-Type', 'application/json')
  if (req.url.endsWith('/openid-configuration')) return res.end(JSON.stringify({ issuer: url, token_endpoint: `${url}/token`, authorization_endpoint: `${url}/auth`, jwks_uri: `${url}/jwks` }))
  if (req.url !== '/token') return res.end('{}')
  sent++
  serial++
  res.end(JSON.stringify({ access_token: `access-${serial}`, token_type: 'Bearer', expires_in: life, refresh_token: `refresh-${serial}` }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const url = `http://127.0.0.1:${server.address().port}`
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
const title = (name, rest) => console.log(`${name} ${JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version}, ${rest}`)
const refreshes = () => `${sent} refresh${sent === 1 ? '' : 'es'}`

title('google-auth-library', 'five calls')
for (const [seconds, eagerRefreshThresholdMillis] of [[900], [301], [300], [300, 30_000]]) {
  life = seconds
  sent = 0
  const c = new google.OAuth2Client({ clientId: 'c', endpoints: { oauth2TokenUrl: `${url}/token` }, ...eagerRefreshThresholdMillis && { eagerRefreshThresholdMillis } })
  c.on('tokens', (t) => c.setCredentials({ ...c.credentials, ...t })) // it keeps the old refresh token otherwise
  c.setCredentials({ refresh_token: 'refresh' })
  for (let i = 0; i < 5; i++) await c.request({ url: `${url}/api` })
  console.log(`  of ${life} s${eagerRefreshThresholdMillis ? `, eagerRefreshThresholdMillis ${eagerRefreshThresholdMillis}` : ''}: ${refreshes()}`)
}

title('@badgateway/oauth2-client', 'five calls')
for (life of [900, 300, 60]) {
  sent = 0
  let store = { accessToken: 'access', refreshToken: 'refresh', expiresAt: Date.now() - 1000 }
  const c = new OAuth2Fetch({
    client: new OAuth2Client({ clientId: 'c', server: url, tokenEndpoint: '/token' }),
    getStoredToken: () => store, storeToken: (t) => { store = t }, getNewToken: () => null,
  })
  await sleep(20) // it loads the stored token by itself
  for (let i = 0; i < 5; i++) await c.fetch(`${url}/api`)
  console.log(`  of ${life} s: ${refreshes()}`)
}

const dom = new JSDOM('', { url: 'https://app.example/' })
for (const name of ['window', 'document', 'location', 'history', 'localStorage', 'sessionStorage', 'navigator']) {
  Object.defineProperty(globalThis, name, { value: name === 'window' ? dom.window : dom.window[name], configurable: true })
}
const oidc = await import('oidc-client-ts')
title('oidc-client-ts', 'open for some seconds')
for (const [seconds, accessTokenExpiringNotificationTimeInSeconds] of [[900], [120], [60], [60, 20]]) {
  life = seconds
  const store = () => new oidc.WebStorageStateStore({ store: new oidc.InMemoryWebStorage() })
  const m = new oidc.UserManager({
    authority: url, client_id: 'c', redirect_uri: 'https://app.example/', userStore: store(), stateStore: store(), automaticSilentRenew: true,
    ...accessTokenExpiringNotificationTimeInSeconds && { accessTokenExpiringNotificationTimeInSeconds },
  })
  await m.storeUser(new oidc.User({ access_token: 'access', token_type: 'Bearer', refresh_token: 'refresh', profile: { sub: 'u' }, expires_at: Math.floor(Date.now() / 1000) + 600 }))
  await m.signinSilent() // a refresh, with which it begins to count
  sent = 0
  for (const end = Date.now() + (seconds === 60 && !accessTokenExpiringNotificationTimeInSeconds ? 60_000 : 6_000); Date.now() < end && sent < 3;) await sleep(50)
  m.stopSilentRenew()
  console.log(`  of ${life} s${accessTokenExpiringNotificationTimeInSeconds ? `, accessTokenExpiringNotificationTimeInSeconds ${accessTokenExpiringNotificationTimeInSeconds}` : ''}: ${sent === 0 ? 'no refresh by itself' : sent === 3 ? 'refreshes again and again' : refreshes()}`)
}
process.exit(0)
JS
timeout 150 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
