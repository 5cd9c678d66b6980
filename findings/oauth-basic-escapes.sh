#!/usr/bin/env bash
# Two OAuth clients that both encode Basic credentials, as RFC 6749 section 2.3.1 says, send
# different ones for the same secret.
#
# The section has a client encode its id and its secret by application/x-www-form-urlencoded
# before they become Basic credentials. The algorithm of that name leaves "-", "." and "_" as
# they are, and so does golang.org/x/oauth2 0.38.0. openid-client 6.9.0 (oauth4webapi) writes
# %2D, %2E and %5F: any decoder reads the same. A server that compares Basic credentials as they
# come, as with r.BasicAuth in Go, therefore accepts a UUID for a secret from the one and
# refuses it from the other, though it holds nothing that seems to need escaping.
#
# It ends with 1 if the clients behave otherwise, and printed:
#
#	golang.org/x/oauth2 0.38.0: shop:4f1c_a.b-77
#	openid-client 6.9.0: shop:4f1c%5Fa%2Eb%2D77
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >got.mjs <<'JS'
import http from 'node:http'
import * as client from 'openid-client'

const server = http.createServer((q, s) => {
  const basic = Buffer.from(q.headers.authorization.split(' ')[1], 'base64').toString()
  console.log('openid-client 6.9.0:', basic)
  s.setHeader('content-type', 'application/json')
  s.end('{"access_token":"a","token_type":"Bearer"}')
})
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const config = new client.Configuration({ issuer, token_endpoint: issuer + '/token' }, 'shop', undefined, client.ClientSecretBasic('4f1c_a.b-77'))
  client.allowInsecureRequests(config)
  await client.refreshTokenGrant(config, 'r')
  process.exit(0)
})
JS
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"golang.org/x/oauth2"
)

func main() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		fmt.Printf("golang.org/x/oauth2 0.38.0: %s:%s\n", id, secret)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"a","token_type":"Bearer"}`)
	}))
	defer server.Close()
	c := oauth2.Config{ClientID: "shop", ClientSecret: "4f1c_a.b-77", Endpoint: oauth2.Endpoint{TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader}}
	if _, err := c.TokenSource(context.Background(), &oauth2.Token{RefreshToken: "r"}).Token(); err != nil {
		panic(err)
	}
}
GO
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding >/dev/null 2>&1
go get golang.org/x/oauth2@v0.38.0 >/dev/null 2>&1
npm install --silent --no-audit --no-fund --no-package-lock openid-client@6.9.0 >/dev/null
got=$(go run . && node got.mjs)
echo "$got"
[ "$got" = 'golang.org/x/oauth2 0.38.0: shop:4f1c_a.b-77
openid-client 6.9.0: shop:4f1c%5Fa%2Eb%2D77' ]
