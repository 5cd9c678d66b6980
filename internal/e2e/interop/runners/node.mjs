// Node libraries from npm. Each is used as its own documentation shows, told the
// algorithm, the issuer and the audience.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { once } from 'node:events'

const require = createRequire(path.join(process.cwd(), 'x.js'))
const { INTEROP_URL: url, INTEROP_ISSUER: issuer, INTEROP_AUDIENCE: audience, INTEROP_ALGS } = process.env
const get = async (p) => (await fetch(url + p)).text()
const version = (name) => JSON.parse(readFileSync(path.join(process.cwd(), 'node_modules', name, 'package.json'))).version
const jwksUri = (alg) => url + '/jwks.json' + (alg ? '?alg=' + alg : '')

// inServer answers what an HTTP server built by make says to a request with the token.
async function inServer(make, token) {
  const server = http.createServer(await make()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const r = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { authorization: `Bearer ${token}` } })
    if (r.status !== 200) throw new Error(`${r.status} ${r.headers.get('www-authenticate') ?? ''}`)
  } finally {
    server.close()
  }
}

const verifiers = {
  jose: async (alg, token, set) => {
    const { createRemoteJWKSet, jwtVerify } = await import(require.resolve('jose'))
    await jwtVerify(token, createRemoteJWKSet(new URL(set)), { issuer, audience, typ: 'at+jwt', algorithms: [alg], maxTokenAge: 60 })
  },
  jsonwebtoken: async (alg, token, set) => {
    require('jsonwebtoken').verify(token, await get('/pem?alg=' + alg), { issuer, audience, algorithms: [alg] })
  },
  'fast-jwt': async (alg, token, set) => {
    require('fast-jwt').createVerifier({ key: await get('/pem?alg=' + alg), algorithms: [alg], allowedIss: issuer, allowedAud: audience })(token)
  },
  'get-jwks': async (alg, token, set) => {
    const { createVerifier } = require('fast-jwt')
    const jwks = require('get-jwks')({ issuersWhitelist: [url + '/'] })
    const key = ({ header }) => jwks.getPublicKey({ kid: header.kid, alg: header.alg, domain: url + '/' })
    await createVerifier({ key, algorithms: [alg], allowedIss: issuer, allowedAud: audience })(token)
  },
  'express-jwt': async (alg, token, set) => inServer(async () => {
    const express = require('express')
    const app = express()
    app.use(require('express-jwt').expressjwt({ secret: await get('/pem?alg=' + alg), algorithms: [alg], issuer, audience }))
    app.get('/', (req, res) => res.send('ok'))
    app.use((err, req, res, next) => res.status(401).set('WWW-Authenticate', err.message).end())
    return app
  }, token),
  'passport-jwt': async (alg, token, set) => inServer(async () => {
    const passport = require('passport')
    const { Strategy, ExtractJwt } = require('passport-jwt')
    const p = new passport.Passport()
    p.use(new Strategy({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), secretOrKey: await get('/pem?alg=' + alg), algorithms: [alg], issuer, audience }, (payload, done) => done(null, { id: payload.sub })))
    const app = require('express')()
    app.get('/', p.authenticate('jwt', { session: false }), (req, res) => res.send('ok'))
    return app
  }, token),
  'koa-jwt': async (alg, token, set) => inServer(async () => {
    const Koa = require('koa')
    const app = new Koa()
    app.silent = true
    app.use(require('koa-jwt')({ secret: await get('/pem?alg=' + alg), algorithms: [alg], issuer, audience }))
    app.use((ctx) => { ctx.body = 'ok' })
    return app.callback()
  }, token),
  'express-oauth2-jwt-bearer': async (alg, token, set) => inServer(async () => {
    const app = require('express')()
    app.use(require('express-oauth2-jwt-bearer').auth({ issuer, jwksUri: set, audience, tokenSigningAlg: alg, strict: true }))
    app.get('/', (req, res) => res.send('ok'))
    app.use((err, req, res, next) => res.status(err.status ?? 500).set('WWW-Authenticate', err.message.replaceAll('\n', ' ')).end())
    return app
  }, token),
  'aws-jwt-verify': async (alg, token, set) => {
    const { JwtVerifier } = require('aws-jwt-verify')
    const v = JwtVerifier.create({ issuer, audience, jwksUri: 'https://auth.example.com/jwks.json' })
    v.cacheJwks(JSON.parse(await (await fetch(set)).text()))
    await v.verify(token)
  },
  oauth4webapi: async (alg, token, set) => {
    const oauth = await import(require.resolve('oauth4webapi'))
    const request = new Request('https://api.example.com/', { headers: { authorization: `Bearer ${token}` } })
    await oauth.validateJwtAccessToken({ issuer, jwks_uri: set }, request, audience, { [oauth.allowInsecureRequests]: true, signingAlgorithms: [alg] })
  },
}

const readsSets = ['jose', 'get-jwks', 'express-oauth2-jwt-bearer', 'aws-jwt-verify', 'oauth4webapi']
for (const [name, verify] of Object.entries(verifiers)) {
  for (const what of [...INTEROP_ALGS.split(' '), 'mixed', 'forged']) {
    if (what === 'mixed' && !readsSets.includes(name)) continue
    const alg = ['mixed', 'forged'].includes(what) ? 'ES256' : what
    const token = await get('/token?alg=' + alg + (what === 'forged' ? '&forged=1' : ''))
    let said = 'ok'
    try {
      await verify(alg, token, what === 'mixed' ? jwksUri() : jwksUri(alg))
    } catch (err) {
      said = String(err.message).split('\n')[0].replaceAll(token, '(token)').replaceAll('\t', ' ') || err.constructor.name
    }
    console.log([name, version(name), what, said].join('\t'))
  }
}
process.exit(0)
