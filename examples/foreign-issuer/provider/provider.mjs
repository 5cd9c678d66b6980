// An OpenID provider (oidc-provider) as somebody else runs one. Its access tokens for the orders
// service are JWTs (RFC 9068), and carry the session's id, which they do not by themselves.
//
//   PORT=… CLIENT_SECRET=… node provider.mjs
import { generateKeyPairSync } from 'node:crypto'
import { Provider } from 'oidc-provider'

const issuer = `http://127.0.0.1:${process.env.PORT}`
const key = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'shop', client_secret: process.env.CLIENT_SECRET, redirect_uris: ['https://shop.example.com/callback'], id_token_signed_response_alg: 'ES256',
    grant_types: ['authorization_code', 'refresh_token'],
    // Only sessions of clients that ask for it have an id.
    backchannel_logout_uri: 'https://shop.example.com/backchannel-logout', backchannel_logout_session_required: true,
  }],
  jwks: { keys: [key] },
  scopes: ['openid', 'offline_access', 'orders'],
  features: {
    devInteractions: { enabled: true }, // a login form that takes every name and password
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://orders.example.com',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'orders', audience: 'https://orders.example.com', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'ES256' } } }),
    },
  },
  // The id of the session, which ID tokens and logout tokens have, and access tokens by this alone.
  extraTokenClaims: (ctx, token) => ({ sid: token.sid }),
  issueRefreshToken: () => true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  cookies: { keys: ['of one run only'] },
})
const server = provider.listen(Number(process.env.PORT), '127.0.0.1', () => console.log(issuer))
process.stdin.resume().on('end', () => { server.close(); server.closeAllConnections() }) // who started it has gone
