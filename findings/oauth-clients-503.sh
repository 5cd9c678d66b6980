#!/usr/bin/env bash
# Two of six OAuth clients take "try again later" for the end of the session.
#
# Node 20; the versions are printed. Guessed was: a client whose refresh is answered with 503 and
# Retry-After keeps its refresh token, and asks for a login after invalid_grant alone (RFC 6749
# section 5.2). @badgateway/oauth2-client asks for new tokens, which is a login, after a 503 and
# after a lost answer; react-oauth2-code-pkce begins a login after both. None waits for
# Retry-After; google-auth-library sends the same token again within seconds, the others
# leave it to the next call. And keycloak-js, which can be told of any OpenID provider, reads
# refresh tokens as JWTs: one that is no JWT fails after the exchange has been made.
#
# So behind the first two a refresh that is answered with ErrTryAgain logs the user out though
# the session lives: a token endpoint for them waits, and tries again itself for some seconds,
# before it says 503. Three calls at once of oidc-client-ts and simple-oauth2 need
# Lifetimes.Grace. google-auth-library keeps the old refresh token beside a new one, so that its
# next refresh is a replay, unless the application sets the one of its "tokens" event.
#
# It takes some 20 s, ends with 1 if a client behaves otherwise, and printed:
#
#	@badgateway/oauth2-client 3.3.1
#	  three at once: sent 1; holds the successor
#	  503: sent 1; asks for a login
#	  lost answer: sent 1; asks for a login
#	  invalid_grant: sent 1; asks for a login
#	google-auth-library 10.9.1
#	  three at once: sent 1; holds the old one
#	  503: sent 4; holds the old one
#	  lost answer: sent 3; holds the old one
#	  invalid_grant: sent 1; holds the old one
#	keycloak-js 26.2.4
#	  three at once: sent 1; holds the successor
#	  503: sent 1; holds the old one
#	  lost answer: sent 1; holds the old one
#	  invalid_grant: sent 1; asks for a login
#	  a successor that is no JWT: Error: Unable to decode token, payload not found.
#	oidc-client-ts 3.5.0
#	  three at once: sent 3; holds the successor
#	  503: sent 1; holds the old one
#	  lost answer: sent 1; holds the old one
#	  invalid_grant: sent 1; holds the old one
#	react-oauth2-code-pkce 1.24.0
#	  503: sent 1; asks for a login
#	  lost answer: sent 1; asks for a login
#	  invalid_grant: sent 1; asks for a login
#	simple-oauth2 5.1.0
#	  three at once: sent 3; holds the successor
#	  503: sent 1; holds the old one
#	  lost answer: sent 1; holds the old one
#	  invalid_grant: sent 1; holds the old one
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent @badgateway/oauth2-client@3.3.1 google-auth-library@10.9.1 keycloak-js@26.2.4 oidc-client-ts@3.5.0 \
	react-oauth2-code-pkce@1.24.0 simple-oauth2@5.1.0 jsdom@26.1.0 react@18.3.1 react-dom@18.3.1 >/dev/null
cat >main.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'
import { JSDOM } from 'jsdom'

// A token endpoint. Refresh tokens have the form of JWTs unless told otherwise, for keycloak-js.
const now = () => Math.floor(Date.now() / 1000)
const jwt = (claims) => `x.${Buffer.from(JSON.stringify({ iat: now(), exp: now() + 3600, ...claims })).toString('base64url')}.x`
const first = jwt({ n: 0 })
let mode, sent, serial = 0
const server = http.createServer((req, res) => {
  let body = ''
  req.on('data', (d) => { body += d })
  req.on('end', () => {
    res.setHeader('Content-Type', 'application/json')
    res.setHeader('Connection', 'close')
    const answer = (status, value) => { res.statusCode = status; res.end(JSON.stringify(value)) }
    if (req.url.endsWith('/openid-configuration')) return answer(200, { issuer: url, token_endpoint: `${url}/token`, authorization_endpoint: `${url}/auth`, jwks_uri: `${url}/jwks` })
    sent++
    if (mode === '503') { res.setHeader('Retry-After', '1'); return answer(503, { error: 'temporarily_unavailable' }) }
    if (mode === 'lost answer') return req.socket.destroy()
    if (mode === 'invalid_grant') return answer(400, { error: 'invalid_grant' })
    setTimeout(answer, 100, 200, { access_token: jwt({}), token_type: 'Bearer', expires_in: 3600, refresh_token: mode === 'opaque' ? mode : jwt({ n: ++serial }) })
  })
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const url = `http://127.0.0.1:${server.address().port}`

const dom = new JSDOM('<div id="root"></div>', { url: 'https://app.example/', pretendToBeVisual: true })
for (const name of ['window', 'document', 'location', 'history', 'localStorage', 'sessionStorage', 'Node', 'navigator']) {
  Object.defineProperty(globalThis, name, { value: name === 'window' ? dom.window : dom.window[name], configurable: true })
}
dom.window.isSecureContext = true // jsdom does not know it,
dom.window.fetch = fetch // and has none
Promise.withResolvers ??= () => { const p = {}; p.promise = new Promise((resolve, reject) => Object.assign(p, { resolve, reject })); return p } // Node 22 has it
console.error = console.info = console.warn = () => {}

const { OAuth2Client, OAuth2Fetch } = await import('@badgateway/oauth2-client')
const google = await import('google-auth-library')
const { default: Keycloak } = await import('keycloak-js')
const oidc = await import('oidc-client-ts')
const { default: simple } = await import('simple-oauth2')
const { default: React } = await import('react')
const { createRoot } = await import('react-dom/client')
const { AuthProvider } = await import('react-oauth2-code-pkce')

// Each makes a client that holds the refresh token first, and returns what refreshes, and what tells
// the token that it holds now, or null where it has asked for a login.
const clients = {
  '@badgateway/oauth2-client': async () => {
    let held = first
    const store = { accessToken: 'x', refreshToken: first, expiresAt: Date.now() - 1000 }
    const wrapper = new OAuth2Fetch({
      client: new OAuth2Client({ clientId: 'c', server: url, tokenEndpoint: '/token' }), scheduleRefresh: false,
      getStoredToken: () => store, storeToken: (t) => { held = t.refreshToken }, getNewToken: () => { held = null; return null },
    })
    await new Promise((done) => setTimeout(done, 10)) // it loads the stored token by itself
    return { refresh: () => wrapper.getAccessToken(), held: () => held }
  },
  'google-auth-library': async () => {
    const c = new google.OAuth2Client({ clientId: 'c', endpoints: { oauth2TokenUrl: `${url}/token` } })
    c.setCredentials({ access_token: 'x', refresh_token: first, expiry_date: 1 })
    return { refresh: () => c.getAccessToken(), held: () => c.credentials.refresh_token }
  },
  'keycloak-js': async () => {
    const before = mode
    mode = '200'
    const k = new Keycloak({ clientId: 'c', oidcProvider: url })
    await k.init({ token: jwt({}), refreshToken: first, checkLoginIframe: false })
    mode = before
    sent = 0
    const old = k.refreshToken // init has refreshed
    return { refresh: () => k.updateToken(-1), held: () => k.authenticated ? k.refreshToken === old ? first : k.refreshToken : null }
  },
  'oidc-client-ts': async () => {
    const store = () => new oidc.WebStorageStateStore({ store: new oidc.InMemoryWebStorage() })
    const m = new oidc.UserManager({ authority: url, client_id: 'c', redirect_uri: 'https://app.example/', userStore: store(), stateStore: store(), automaticSilentRenew: false })
    await m.storeUser(new oidc.User({ access_token: 'x', token_type: 'Bearer', refresh_token: first, profile: { sub: 'u' }, expires_at: now() + 60 }))
    let held = first
    const look = async () => { held = (await m.getUser())?.refresh_token ?? null }
    return { refresh: () => m.signinSilent().finally(look), held: () => held }
  },
  'react-oauth2-code-pkce': async () => {
    localStorage.clear()
    for (const [k, v] of Object.entries({ token: 'x', refreshToken: first, tokenExpire: now() + 5, refreshTokenExpire: now() + 3600, loginInProgress: false })) {
      localStorage.setItem(`ROCP_${k}`, JSON.stringify(v))
    }
    let asked = false
    const authConfig = {
      clientId: 'c', authorizationEndpoint: `${url}/auth`, tokenEndpoint: `${url}/token`, redirectUri: 'https://app.example/', autoLogin: false, decodeToken: false,
      preLogin: () => { asked = true }, onRefreshTokenExpire: () => { asked = true },
    }
    const root = createRoot(document.getElementById('root'))
    return {
      refresh: async () => { // it does so by itself, shortly before the access token expires
        root.render(React.createElement(AuthProvider, { authConfig }))
        for (const end = Date.now() + 20_000; Date.now() < end && !asked && JSON.parse(localStorage.getItem('ROCP_refreshToken')) === first;) await new Promise((done) => setTimeout(done, 50))
        root.unmount()
      },
      held: () => asked ? null : JSON.parse(localStorage.getItem('ROCP_refreshToken')), alone: true,
    }
  },
  'simple-oauth2': async () => {
    const c = new simple.AuthorizationCode({ client: { id: 'c', secret: 's' }, auth: { tokenHost: url, tokenPath: '/token' } })
    let held = first
    const t = c.createToken({ access_token: 'x', refresh_token: first, expires_in: 1 })
    return { refresh: async () => { held = (await t.refresh()).token.refresh_token }, held: () => held }
  },
}
const version = (name) => JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version
for (const [name, make] of Object.entries(clients)) {
  console.log(name, version(name))
  for (mode of ['three at once', '503', 'lost answer', 'invalid_grant']) {
    sent = 0
    const client = await make()
    if (client.alone && mode === 'three at once') continue
    await Promise.allSettled([...Array(mode === 'three at once' ? 3 : 1)].map(() => client.refresh()))
    const held = client.held()
    console.log(`  ${mode}: sent ${sent}; ${held === null ? 'asks for a login' : held === first ? 'holds the old one' : held ? 'holds the successor' : 'holds none'}`)
  }
  if (name === 'keycloak-js') {
    const client = await make()
    mode = 'opaque'
    console.log('  a successor that is no JWT:', await client.refresh().then(() => 'taken', String))
  }
}
process.exit(0)
JS
timeout 200 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
