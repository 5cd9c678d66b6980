#!/usr/bin/env bash
# Two OAuth clients never ask to revoke the refresh token, when the access token cannot be revoked.
#
# Node 20; the versions are printed. Guessed was: a client that is to revoke both tokens asks for
# both, whatever the first answer is, or begins with the refresh token, with which the server ends
# the access tokens, too (RFC 7009 section 2.1). oidc-client-ts and simple-oauth2 begin with the
# access token, and stop at the first error. An endpoint that cannot revoke JWTs says
# unsupported_token_type for each of them (section 2.2.1), as oidc-provider does: then the refresh
# token lives on, and signoutRedirect with revokeTokensOnSignout goes to no logout page and
# keeps the user. google-auth-library asks for the access token alone, with the token in the
# address instead of the body, so that it gets into logs, and forgets the refresh token.
# @axa-fr/oidc-client asks for both.
#
# So an endpoint for such clients can revoke access tokens, and a server that sees a logout
# ends the session there, instead of waiting for the client to revoke. Before another's endpoint tell
# oidc-client-ts to begin with the refresh token (revokeTokenTypes), and call revoke of
# simple-oauth2 twice instead of revokeAll.
#
# It ends with 1 if a client behaves otherwise, and printed:
#
#	@axa-fr/oidc-client 7.29.1
#	  200: asked to revoke access, refresh; done
#	  unsupported_token_type for the access token: asked to revoke access, refresh; done
#	  503: asked to revoke access, refresh; done
#	google-auth-library 10.9.1
#	  200: asked to revoke access in the address; done
#	  unsupported_token_type for the access token: asked to revoke access in the address; error
#	  503: asked to revoke access in the address four times; error
#	oidc-client-ts 3.5.0, revokeTokens
#	  200: asked to revoke access, refresh; done
#	  unsupported_token_type for the access token: asked to revoke access; error
#	  503: asked to revoke access; error
#	oidc-client-ts 3.5.0, signoutRedirect
#	  200: asked to revoke access, refresh; done, at the logout page
#	  unsupported_token_type for the access token: asked to revoke access; error, keeps the user
#	  503: asked to revoke access; error, keeps the user
#	oidc-client-ts 3.5.0, revokeTokens, refresh token first
#	  200: asked to revoke refresh, access; done
#	  unsupported_token_type for the access token: asked to revoke refresh, access; error
#	  503: asked to revoke refresh; error
#	simple-oauth2 5.1.0
#	  200: asked to revoke access, refresh; done
#	  unsupported_token_type for the access token: asked to revoke access; error
#	  503: asked to revoke access; error
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent @axa-fr/oidc-client@7.29.1 google-auth-library@10.9.1 oidc-client-ts@3.5.0 simple-oauth2@5.1.0 jsdom@26.1.0 >/dev/null
cat >main.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'
import { JSDOM, VirtualConsole } from 'jsdom'

// A revocation endpoint, with the metadata that leads to it.
let mode
const asked = []
const server = http.createServer((req, res) => {
  let body = ''
  req.on('data', (d) => { body += d })
  req.on('end', () => {
    res.setHeader('Content-Type', 'application/json')
    res.setHeader('Connection', 'close')
    const address = new URL(req.url, url)
    if (address.pathname.endsWith('/openid-configuration')) {
      return res.end(JSON.stringify({ issuer: url, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token`, jwks_uri: `${url}/jwks`, revocation_endpoint: `${url}/revoke`, end_session_endpoint: `${url}/end` }))
    }
    const token = new URLSearchParams(body).get('token')
    asked.push(token ?? `${address.searchParams.get('token')} in the address`)
    if (mode === '503') {
      res.setHeader('Retry-After', '1')
      res.statusCode = 503
      return res.end('{"error":"temporarily_unavailable"}')
    }
    if (mode !== '200' && (token ?? 'access') === 'access') {
      res.statusCode = 400
      return res.end('{"error":"unsupported_token_type"}')
    }
    res.end()
  })
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const url = `http://127.0.0.1:${server.address().port}`

const dom = new JSDOM('', { url: 'https://app.example/', virtualConsole: new VirtualConsole() })
for (const name of ['window', 'document', 'location', 'history', 'localStorage', 'sessionStorage', 'navigator']) {
  Object.defineProperty(globalThis, name, { value: name === 'window' ? dom.window : dom.window[name], configurable: true })
}
dom.window.fetch = fetch // jsdom has none
console.error = console.warn = console.info = () => {}

const { default: axa } = await import('@axa-fr/oidc-client')
const google = await import('google-auth-library')
const oidc = await import('oidc-client-ts')
const { default: simple } = await import('simple-oauth2')

const manager = async (more) => {
  const store = () => new oidc.WebStorageStateStore({ store: new oidc.InMemoryWebStorage() })
  let arrived
  const there = new Promise((done) => { arrived = done })
  const navigator = { prepare: async () => ({ navigate: async () => { arrived(); return new Promise(() => {}) }, close: () => {} }), callback: async () => {} }
  const m = new oidc.UserManager({ authority: url, client_id: 'c', redirect_uri: 'https://app.example/', userStore: store(), stateStore: store(), automaticSilentRenew: false, ...more }, navigator)
  await m.storeUser(new oidc.User({ access_token: 'access', token_type: 'Bearer', refresh_token: 'refresh', id_token: 'x.x.x', profile: { sub: 'u' }, expires_at: Date.now() / 1000 + 60 }))
  return { m, there }
}
const serial = ((n) => () => `n${n++}`)(0)
const clients = {
  '@axa-fr/oidc-client': async () => {
    const c = axa.OidcClient.getOrCreate(() => fetch)({ client_id: 'c', authority: url, redirect_uri: 'https://app.example/', scope: 'openid', service_worker_only: false, monitor_session: false, logout_tokens_to_invalidate: ['access_token', 'refresh_token'] }, serial())
    c._oidc.tokens = { accessToken: 'access', refreshToken: 'refresh', idToken: 'x.x.x' }
    await c.logoutAsync(null, { 'no_reload:oidc': 'true' })
  },
  'google-auth-library': async () => {
    const c = new google.OAuth2Client({ clientId: 'c', endpoints: { oauth2RevokeUrl: `${url}/revoke` } })
    c.setCredentials({ access_token: 'access', refresh_token: 'refresh' })
    await c.revokeCredentials()
  },
  'oidc-client-ts, revokeTokens': async () => (await manager()).m.revokeTokens(),
  'oidc-client-ts, signoutRedirect': async () => {
    const { m, there } = await manager({ revokeTokensOnSignout: true })
    try {
      await Promise.race([m.signoutRedirect(), there])
      return ', at the logout page'
    } catch (e) {
      throw Object.assign(e, { more: await m.getUser() ? ', keeps the user' : '' })
    }
  },
  'oidc-client-ts, revokeTokens, refresh token first': async () => (await manager({ revokeTokenTypes: ['refresh_token', 'access_token'] })).m.revokeTokens(),
  'simple-oauth2': async () => {
    const c = new simple.AuthorizationCode({ client: { id: 'c', secret: 's' }, auth: { tokenHost: url, revokePath: '/revoke' } })
    await c.createToken({ access_token: 'access', refresh_token: 'refresh', expires_in: 60 }).revokeAll()
  },
}
const version = (name) => JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version
const times = (list) => list.length === 4 && new Set(list).size === 1 ? `${list[0]} four times` : list.join(', ')
for (const [name, logout] of Object.entries(clients)) {
  const [library, ...how] = name.split(', ')
  console.log([`${library} ${version(library)}`, ...how].join(', '))
  for (mode of ['200', 'unsupported_token_type for the access token', '503']) {
    asked.length = 0
    const end = await logout().then((more = '') => `done${more}`, (e) => `error${e.more ?? ''}`)
    console.log(`  ${mode}: asked to revoke ${times(asked)}; ${end}`)
  }
}
process.exit(0)
JS
timeout 100 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
