#!/usr/bin/env bash
# How long a removed key lives on: in one verifier not for a second, in two for ever.
#
# Node 20, Go 1.26; the versions are printed. Guessed was: a middleware that is given the address
# of a key set keeps the set for some minutes and then fetches it again. hono's fetches it with
# every request: the auth service sees all the traffic of the API, and while it is away nobody
# gets in. aws-jwt-verify and go-oidc fetch it again for a kid that they do not know and for
# nothing else, so that a removed key is good until the process restarts, or until a token with
# a new key happens to come. None reads the answer's Cache-Control. (hono has also to be told
# the typ at+jwt, without which it refuses the tokens of RFC 9068.)
#
# So removing a leaked key from the set does not end its tokens at such verifiers: after
# Key.Revocation the keyring's next key has to reach them with a token, or they are restarted.
#
# It ends with 1 if they behave otherwise, and printed (the clock of Node is moved by hand; go-oidc
# is asked at once):
#
#	aws-jwt-verify 5.2.1: three tokens, 1 fetch; a new key at once: yes; a removed key: after 30 days yes, after a token with a new key no
#	get-jwks 11.0.3: three tokens, 1 fetch; a new key at once: yes; a removed key: no after 123 s
#	hono 4.13.19: three tokens, 3 fetches; a new key at once: yes; a removed key: no after 0 s
#	jose 6.2.18: three tokens, 1 fetch; a new key at once: no; a removed key: no after 601 s
#	jwks-rsa 4.1.0: three tokens, 1 fetch; a new key at once: yes; a removed key: no after 601 s
#	go-oidc 3.21.0: three tokens, 1 fetch; a new key at once: yes; a removed key, max-age=0: yes, after a token with a new key no
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --silent aws-jwt-verify@5.2.1 get-jwks@11.0.3 hono@4.13.19 jose@6.2.18 jwks-rsa@4.1.0 >/dev/null
cat >main.mjs <<'JS'
import crypto from 'node:crypto'
import fs from 'node:fs'
import http from 'node:http'

const text = (x) => Buffer.from(JSON.stringify(x)).toString('base64url')
const pairs = Object.fromEntries(['a', 'b', 'c'].map((kid) => [kid, crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })]))
let published = [], fetches = 0
const server = http.createServer((_, res) => {
  fetches++
  res.setHeader('Content-Type', 'application/json')
  res.setHeader('Cache-Control', 'max-age=0')
  res.end(JSON.stringify({ keys: published.map((kid) => ({ ...pairs[kid].publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' })) }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))
const issuer = `http://127.0.0.1:${server.address().port}`, uri = `${issuer}/.well-known/jwks.json`

let ahead = 0
const wall = Date.now, monotonic = performance.now.bind(performance)
Date.now = () => wall() + ahead
performance.now = () => monotonic() + ahead
const pass = async (seconds) => { ahead += seconds * 1000; await new Promise((done) => setTimeout(done, 10)) } // one cache reads the clock once a tick

const token = (kid) => {
  const now = Math.floor(Date.now() / 1000)
  const signed = `${text({ alg: 'ES256', typ: 'at+jwt', kid })}.${text({ iss: issuer, aud: 'orders', sub: 'u', client_id: 'c', jti: crypto.randomUUID(), iat: now, exp: now + 300 })}`
  return `${signed}.${crypto.sign('sha256', Buffer.from(signed), { key: pairs[kid].privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}
const kidOf = (t) => JSON.parse(Buffer.from(t.split('.')[0], 'base64url')).kid
const verifiers = {
  'aws-jwt-verify': async () => {
    const { JwtVerifier } = await import('aws-jwt-verify')
    const { SimpleJwksCache } = await import('aws-jwt-verify/jwk')
    const fetcher = { fetch: async (u) => (await fetch(u)).arrayBuffer() } // its own wants https
    const v = JwtVerifier.create({ issuer, audience: 'orders', jwksUri: uri }, { jwksCache: new SimpleJwksCache({ fetcher }) })
    return (t) => v.verify(t)
  },
  'get-jwks': async () => {
    const keys = (await import('get-jwks')).default({ issuersWhitelist: [issuer] })
    return (t) => keys.getPublicKey({ kid: kidOf(t), alg: 'ES256', domain: issuer })
  },
  'hono': async () => {
    const { Hono } = await import('hono')
    const { jwk } = await import('hono/jwk')
    const app = new Hono()
    app.use(jwk({ jwks_uri: uri, alg: ['ES256'], verification: { typ: 'at+jwt' } }))
    app.get('/', (c) => c.text('ok'))
    return async (t) => { if ((await app.request('/', { headers: { authorization: `Bearer ${t}` } })).status !== 200) throw new Error('refused') }
  },
  'jose': async () => {
    const { createRemoteJWKSet, jwtVerify } = await import('jose')
    const keys = createRemoteJWKSet(new URL(uri))
    return (t) => jwtVerify(t, keys)
  },
  'jwks-rsa': async () => {
    const client = (await import('jwks-rsa')).default({ jwksUri: uri })
    return (t) => client.getSigningKey(kidOf(t))
  },
}
for (const [name, make] of Object.entries(verifiers)) {
  published = ['a']
  const verify = await make()
  const accepts = (kid) => Promise.resolve(verify(token(kid))).then(() => true, () => false)
  const yes = (b) => b ? 'yes' : 'no'
  fetches = 0
  for (let i = 0; i < 3; i++) if (!await accepts('a')) throw new Error(`${name} refuses a good token`)
  const line = [`three tokens, ${fetches} ${fetches === 1 ? 'fetch' : 'fetches'}`]
  published = ['a', 'b']
  line.push(`a new key at once: ${yes(await accepts('b'))}`)
  await pass(1000) // all have forgotten what they forget
  await accepts('b')
  await accepts('a') // both keys were read within the last moment
  published = ['b']
  let since = 0
  for (const at of [0, 61, 123, 301, 601, 3601, 86_401, 30 * 86_400]) {
    await pass(at - since)
    since = at
    if (!await accepts('a')) { line.push(`a removed key: no after ${at} s`); break }
  }
  if (await accepts('a')) {
    published = ['b', 'c']
    await accepts('c')
    line.push(`a removed key: after 30 days yes, after a token with a new key ${yes(await accepts('a'))}`)
  }
  console.log(`${name} ${JSON.parse(fs.readFileSync(`node_modules/${name}/package.json`)).version}: ${line.join('; ')}`)
}
process.exit(0)
JS
mkdir go
cat >go/main.go <<'GO'
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func main() {
	pairs := map[string]*ecdsa.PrivateKey{}
	for _, kid := range []string{"a", "b", "c"} {
		pairs[kid] = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	}
	published, fetches := []string{"a"}, 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches++
		w.Header().Set("Cache-Control", "max-age=0")
		var set jose.JSONWebKeySet
		for _, kid := range published {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: pairs[kid].Public(), KeyID: kid, Use: "sig", Algorithm: "ES256"})
		}
		json.NewEncoder(w).Encode(set)
	}))
	defer s.Close()
	ctx := context.Background()
	verifier := oidc.NewVerifier(s.URL, oidc.NewRemoteKeySet(ctx, s.URL), &oidc.Config{ClientID: "orders", SupportedSigningAlgs: []string{"ES256"}})
	accepts := func(kid string) string {
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: pairs[kid], KeyID: kid}}, (&jose.SignerOptions{}).WithType("at+jwt")))
		now := time.Now().Unix()
		t := must(jwt.Signed(signer).Claims(map[string]any{"iss": s.URL, "aud": "orders", "sub": "u", "iat": now, "exp": now + 300}).Serialize())
		if _, err := verifier.Verify(ctx, t); err != nil {
			return "no"
		}
		return "yes"
	}
	for range 3 {
		if accepts("a") != "yes" {
			panic("it refuses a good token")
		}
	}
	first := fetches
	published = []string{"a", "b"}
	added := accepts("b")
	published = []string{"b"}
	removed := accepts("a")
	published = []string{"b", "c"}
	accepts("c")
	info, _ := debug.ReadBuildInfo()
	version := ""
	for _, d := range info.Deps {
		if d.Path == "github.com/coreos/go-oidc/v3" {
			version = strings.TrimPrefix(d.Version, "v")
		}
	}
	fmt.Printf("go-oidc %s: three tokens, %d fetch; a new key at once: %s; a removed key, max-age=0: %s, after a token with a new key %s\n", version, first, added, removed, accepts("a"))
}
GO
printf 'module finding\n\ngo 1.26\n' >go/go.mod
(
	cd go
	export GOWORK=off GOFLAGS=-mod=mod
	{ go get github.com/coreos/go-oidc/v3@v3.21.0 github.com/go-jose/go-jose/v4@v4.1.9 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
	go build -o ../go-oidc .
)
{ node main.mjs; ./go-oidc; } | tee out
grep -P '^#\t' "$here" | cut -c3- | cmp - out
