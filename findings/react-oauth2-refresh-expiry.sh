#!/usr/bin/env bash
# react-oauth2-code-pkce takes a refresh token for dead ten minutes after the access token, unless it is told otherwise.
#
# Node 20, react-oauth2-code-pkce 1.24.0. Guessed was: a client that is not told how long a refresh
# token lives tries it: the answer of RFC 6749 section 5.1 tells the life of the access token alone,
# and the server knows the other. This one adds ten minutes to expires_in, and begins a login after
# that without asking the server: a page that is opened, or wakes, later has lost a session of thirty
# days. It reads refresh_token_expires_in and, as its source says for Keycloak, refresh_expires_in, and
# not the refresh_token_timeout of the OAuth draft on the expiration of refresh tokens.
#
# So behind this client an application sets refreshTokenExpiresIn to what the server allows a session
# to idle (Lifetimes.Idle), or its users log in after each break of half an hour.
#
# It takes some 20 s, ends with 1 if the client behaves otherwise, and printed (the clock is moved by hand):
#
#	no word of the refresh token: opened 20 minutes later refreshes, opened 30 minutes later asks for a login
#	refresh_token_timeout 3600: opened 20 minutes later refreshes, opened 30 minutes later asks for a login
#	refresh_token_expires_in 3600: opened 20 minutes later refreshes, opened 30 minutes later refreshes
#	refreshTokenExpiresIn 3600 in its configuration: opened 20 minutes later refreshes, opened 30 minutes later refreshes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent react-oauth2-code-pkce@1.24.0 jsdom@26.1.0 react@18.3.1 react-dom@18.3.1 >/dev/null
cat >main.mjs <<'JS'
import http from 'node:http'
import { JSDOM } from 'jsdom'

let members, sent
const server = http.createServer((req, res) => {
  req.resume()
  sent++
  res.setHeader('Content-Type', 'application/json')
  res.setHeader('Connection', 'close')
  res.end(JSON.stringify({ access_token: `access-${sent}`, token_type: 'Bearer', expires_in: 900, refresh_token: `refresh-${sent}`, ...members }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const url = `http://127.0.0.1:${server.address().port}`

const dom = new JSDOM('<div id="root"></div>', { url: 'https://app.example/', pretendToBeVisual: true })
for (const name of ['window', 'document', 'location', 'history', 'localStorage', 'sessionStorage', 'Node', 'navigator']) {
  Object.defineProperty(globalThis, name, { value: name === 'window' ? dom.window : dom.window[name], configurable: true })
}
console.error = console.info = console.warn = () => {}
let ahead = 0
const wall = Date.now
Date.now = () => wall() + ahead
const RealDate = Date // the client also says new Date()
globalThis.Date = class extends RealDate { constructor(...a) { super(...(a.length ? a : [RealDate.now()])) } }

const { default: React } = await import('react')
const { createRoot } = await import('react-dom/client')
const { AuthProvider } = await import('react-oauth2-code-pkce')

const until = async (what) => {
  for (const end = wall() + 20_000; !what();) {
    if (wall() > end) throw new Error('nothing happens')
    await new Promise((done) => setTimeout(done, 50))
  }
}
// A page that is opened with these tokens: whether it refreshes or begins a login.
const open = async (more) => {
  let asked = false
  const before = sent
  const authConfig = {
    clientId: 'c', authorizationEndpoint: `${url}/auth`, tokenEndpoint: `${url}/token`, redirectUri: 'https://app.example/', autoLogin: false, decodeToken: false,
    preLogin: () => { asked = true }, onRefreshTokenExpire: () => { asked = true }, ...more,
  }
  const root = createRoot(document.getElementById('root'))
  root.render(React.createElement(AuthProvider, { authConfig }))
  const held = () => JSON.parse(localStorage.getItem('ROCP_refreshToken'))
  await until(() => asked || sent > before && held() === `refresh-${sent}`)
  root.unmount()
  return asked ? 'asks for a login' : 'refreshes'
}
for (const [title, answer, config] of [
  ['no word of the refresh token', {}, {}],
  ['refresh_token_timeout 3600', { refresh_token_timeout: 3600 }, {}],
  ['refresh_token_expires_in 3600', { refresh_token_expires_in: 3600 }, {}],
  ['refreshTokenExpiresIn 3600 in its configuration', {}, { refreshTokenExpiresIn: 3600 }],
]) {
  const said = []
  for (const idle of [20, 30]) {
    ahead = 0
    sent = 0
    members = answer
    localStorage.clear()
    const now = Math.floor(Date.now() / 1000)
    for (const [k, v] of Object.entries({ token: 'access', refreshToken: 'refresh', tokenExpire: now + 5, refreshTokenExpire: now + 600, loginInProgress: false })) localStorage.setItem(`ROCP_${k}`, JSON.stringify(v))
    await open(config) // which refreshes, and is given this answer
    ahead = idle * 60_000
    said.push(`opened ${idle} minutes later ${await open(config)}`)
  }
  console.log(`${title}: ${said.join(', ')}`)
}
process.exit(0)
JS
timeout 100 node main.mjs | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
