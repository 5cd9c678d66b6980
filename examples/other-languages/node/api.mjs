// An API that verifies access tokens with jose and follows the log of revocations. It answers
// GET /orders, and on /check, for programs of this machine that cannot follow, what it knows.
//
//   NATS_URL=… ISSUER=… AUDIENCE=… node api.mjs
import { createServer } from 'node:http'
import { calculateJwkThumbprint, createRemoteJWKSet, errors, exportJWK, jwtVerify } from 'jose'
import { Follower } from './follow.mjs'
import { Replica } from './replica.mjs'

const issuer = process.env.ISSUER, audience = process.env.AUDIENCE
const maxStaleness = Number(process.env.MAX_STALENESS_MS || 15_000)
const tokenLifetime = 3_600_000, maxSkew = 2000, leeway = 30

const replica = new Replica()
const follower = new Follower({ replica, servers: process.env.NATS_URL, issuers: [issuer], tokenLifetime, maxSkew, name: 'node-api', log: (s) => console.error(s) })
const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', issuer))

class Refused extends Error {}
class Unknown extends Error {} // nobody can tell now

// What revocations compare, of a token whose signature is good.
async function verified(raw) {
  let result
  try {
    result = await jwtVerify(raw, keys, {
      issuer, audience, algorithms: ['EdDSA'], typ: 'at+jwt', clockTolerance: leeway, requiredClaims: ['exp', 'iat', 'jti', 'sub', 'client_id'],
    })
  } catch (err) {
    // A set that comes with 503 is a JOSEError like a bad signature, one that cannot be fetched none at all.
    const noKeys = [errors.JWKSTimeout, errors.JWKSInvalid].some((c) => err instanceof c) || err.code === 'ERR_JOSE_GENERIC'
    if (err instanceof errors.JOSEError && !noKeys) throw new Refused(err.code)
    throw new Unknown('the keys cannot be had')
  }
  const { payload: c, key } = result
  for (const name of ['jti', 'sub', 'client_id', 'sid', 'tenant']) {
    if (c[name] !== undefined && (typeof c[name] !== 'string' || c[name] === '' || Buffer.byteLength(c[name]) > 512)) throw new Refused(`no usable ${name}`)
  }
  // Beyond these, a token would outlive its revocation, or outrun a cutoff.
  const now = Date.now(), iat = Math.floor(c.iat * 1000)
  if (c.exp * 1000 - iat > tokenLifetime) throw new Refused('it lives too long')
  if (iat > now + maxSkew) throw new Refused('issued in the future')
  let at = iat
  if (c.hyt_at !== undefined) { // this issuer is one of this library
    if (!Number.isSafeInteger(c.hyt_at) || c.hyt_at < iat || c.hyt_at > now + 4 * maxSkew) throw new Refused('no usable hyt_at')
    at = c.hyt_at
  }
  return { iss: c.iss, jti: c.jti, sid: c.sid, sub: c.sub, client: c.client_id, tenant: c.tenant, key: await calculateJwkThumbprint(await exportJWK(key)), iat: at }
}

// What is known to be revoked is refused in every state; anything else passes while fresh.
function judge(t) {
  if (replica.isRevoked(t)) throw new Refused('revoked')
  if (!follower.isFresh(maxStaleness)) throw new Unknown('not up to date')
}

async function body(req) {
  let s = ''
  for await (const chunk of req) {
    s += chunk
    if (s.length > 16_384) throw new Refused('too large')
  }
  return s
}

const server = createServer(async (req, res) => {
  const answer = (status, text, headers = {}) => res.writeHead(status, { 'Content-Type': 'text/plain', ...headers }).end(text + '\n')
  try {
    if (req.url === '/ready') return answer(follower.isFresh(maxStaleness) ? 200 : 503, `${replica.size} entries, ${follower.applied} messages`)
    if (req.url === '/check' && req.method === 'POST') {
      const t = JSON.parse(await body(req))
      if (t.iss !== issuer || !Number.isFinite(t.iat)) throw new Refused('another issuer, or no iat')
      judge(t)
      return answer(200, 'good')
    }
    if (req.url !== '/orders') return answer(404, 'no such page')
    const [, raw] = /^Bearer ([\w.~+/-]+=*)$/i.exec(req.headers.authorization ?? '') ?? []
    if (!raw) return answer(401, 'no token', { 'WWW-Authenticate': 'Bearer' })
    const t = await verified(raw)
    judge(t)
    answer(200, `hello ${t.sub}`)
  } catch (err) {
    if (err instanceof Refused) return answer(401, 'refused', { 'WWW-Authenticate': 'Bearer error="invalid_token"' })
    if (err instanceof SyntaxError) return answer(400, 'no JSON')
    if (!(err instanceof Unknown)) console.error(err)
    answer(503, 'cannot know', { 'Retry-After': '1' })
  }
})
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
const done = follower.run()
process.stdin.resume().on('end', async () => { // who started it has gone
  follower.close()
  server.close()
  server.closeAllConnections()
  await done
})
