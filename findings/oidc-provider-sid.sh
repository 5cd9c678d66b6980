#!/usr/bin/env bash
# oidc-provider gives a new login in the same browser the sid of the old one.
#
# Node 20, oidc-provider 9.13.3. Guessed was: a sid is a login, so that after prompt=login, with
# the password asked for and auth_time anew, tokens have another sid (OpenID Connect Back-Channel
# Logout 1.0 leaves it open: "a Session of a User Agent"). The sid is made once for each
# browser session and client, and outlives fresh logins of the same user; only a logout at the
# provider, or the loss of its cookies, ends it. JWT access tokens have a sid at all only where
# extraTokenClaims writes token.sid, for clients with backchannel_logout_session_required.
#
# So who revokes by sid, and tells the provider nothing, refuses the user's next login in that
# browser, for as long as the revocation is kept: end the session at the provider as well, or
# revoke by sub. examples/foreign-issuer shows both.
#
# It takes some 10 s, ends with 1 if the provider behaves otherwise, and printed:
#
#	oidc-provider 9.13.3
#	first login: forms login consent; sid A, auth_time asked for: no
#	refresh: sid A
#	login again, prompt=login: forms login; sid A, auth_time asked for: yes
#	silently, prompt=none: forms none; sid A, auth_time asked for: no
#	another browser: forms login consent; sid B, auth_time asked for: no
#	after a logout at the provider: forms login consent; sid C, auth_time asked for: no
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund oidc-provider@9.13.3 >/dev/null
cat >main.mjs <<'JS'
import fs from 'node:fs'
import http from 'node:http'
import { createHash, generateKeyPairSync } from 'node:crypto'

console.warn = console.info = () => {} // it warns of its development features
const { Provider } = await import('oidc-provider')
const server = http.createServer()
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const issuer = `http://127.0.0.1:${server.address().port}`, callback = 'https://app.example/callback', api = 'https://api.example'
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'c', client_secret: 'secret', redirect_uris: [callback], id_token_signed_response_alg: 'ES256', grant_types: ['authorization_code', 'refresh_token'],
    backchannel_logout_uri: 'https://app.example/logout', backchannel_logout_session_required: true,
  }],
  jwks: { keys: [{ ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
  scopes: ['openid', 'offline_access', 'api'],
  features: {
    devInteractions: { enabled: true }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true },
    resourceIndicators: {
      enabled: true, defaultResource: () => api, useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'api', audience: api, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
    },
  },
  extraTokenClaims: (ctx, token) => ({ sid: token.sid }),
  issueRefreshToken: () => true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  cookies: { keys: ['k'] },
})
server.on('request', provider.callback())

const claims = (jwt) => JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url'))
const names = new Map()
const nameOf = (sid) => names.get(sid) ?? names.set(sid, String.fromCharCode(65 + names.size)).get(sid)

class Browser {
  cookies = new Map()

  async visit(url, form) {
    const at = new URL(url, issuer)
    const res = await fetch(at, {
      redirect: 'manual', method: form ? 'POST' : 'GET', body: form && new URLSearchParams(form),
      headers: { cookie: [...this.cookies.values()].filter((c) => at.pathname.startsWith(c.path)).map((c) => c.pair).join('; ') },
    })
    for (const line of res.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';').map((s) => s.trim())
      const of = (name) => attributes.find((a) => a.toLowerCase().startsWith(name))?.slice(name.length)
      const key = pair.split('=')[0] + ' ' + of('path=')
      if (new Date(of('expires=') ?? '2100-01-01') < new Date()) this.cookies.delete(key)
      else this.cookies.set(key, { pair, path: of('path=') ?? '/' })
    }
    return { location: res.headers.get('location'), body: await res.text() }
  }

  async token(form) {
    const res = await fetch(`${issuer}/token`, { method: 'POST', body: new URLSearchParams(form), headers: { authorization: 'Basic ' + Buffer.from('c:secret').toString('base64') } })
    this.tokens = await res.json()
    if (!this.tokens.access_token) throw new Error(JSON.stringify(this.tokens))
    return claims(this.tokens.access_token)
  }

  async login(what, prompt) {
    const verifier = 'v'.repeat(50), forms = []
    let at = `${issuer}/auth?` + new URLSearchParams({
      client_id: 'c', response_type: 'code', redirect_uri: callback, scope: 'openid offline_access api', resource: api, prompt,
      code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
    })
    for (let i = 0; i < 20 && !at.startsWith(callback); i++) {
      const { location, body } = await this.visit(at)
      if (location) { at = location; continue }
      const name = /name="prompt" value="(\w+)"/.exec(body)[1]
      forms.push(name)
      at = (await this.visit(/<form[^>]* action="([^"]+)"/.exec(body)[1], { prompt: name, login: 'alice', password: 'x' })).location
    }
    const code = new URL(at).searchParams.get('code')
    const { sid } = await this.token({ grant_type: 'authorization_code', code, redirect_uri: callback, code_verifier: verifier })
    const id = claims(this.tokens.id_token)
    if (id.sid !== sid) throw new Error('the ID token has another sid')
    console.log(`${what}: forms ${forms.join(' ') || 'none'}; sid ${nameOf(sid)}, auth_time asked for: ${id.auth_time ? 'yes' : 'no'}`)
  }

  async logout() {
    const { body } = await this.visit(`${issuer}/session/end?` + new URLSearchParams({ id_token_hint: this.tokens.id_token, client_id: 'c' }))
    await this.visit(/<form[^>]* action="([^"]+)"/.exec(body)[1], { xsrf: /name="xsrf" value="(\w+)"/.exec(body)[1], logout: 'yes' })
  }
}

console.log('oidc-provider', JSON.parse(fs.readFileSync('node_modules/oidc-provider/package.json')).version)
const b = new Browser()
await b.login('first login', 'consent')
console.log('refresh: sid', nameOf((await b.token({ grant_type: 'refresh_token', refresh_token: b.tokens.refresh_token })).sid))
await b.login('login again, prompt=login', 'login')
await b.login('silently, prompt=none', 'none')
await new Browser().login('another browser', 'consent')
await b.logout()
await b.login('after a logout at the provider', 'consent')
process.exit(0)
JS
timeout 100 node main.mjs 2>errors | tee out || { cat errors; exit 1; }
grep -P '^#\t' "$here" | cut -c3- | cmp - out
