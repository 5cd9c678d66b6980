#!/usr/bin/env bash
# One key of an unknown type makes a key set unreadable to four libraries, and to two more by one of two ways in.
#
# Go 1.26, Debian 12; the versions are printed. Guessed was: all pass over such a key, as RFC 7517
# section 5 says, since sets outlive the types that were known when a verifier was written. The set here
# holds the ES256 key of the token and one of kty AKP, which is that of ML-DSA, or one of the curve
# secp256k1, which RFC 8812 has for ES256K. go-jose and jwx refuse all of it for either, jwcrypto and
# Rhonabwy for the type. keyfunc and Authlib do both: keyfunc reads the set from an address and refuses
# it from a text, Authlib reads it in jwt.decode and refuses it in import_key_set. go-oidc, which
# stands on go-jose, passes over the key, as does PyJWT.
#
# So an issuer adds a key of a new type only when it knows all who read its set, and gives the new
# type an issuer and a set of its own otherwise. Who writes a verifier on go-jose reads the keys one by
# one; jwx has WithIgnoreParseError. Package token passes over what it does not know.
#
# It takes some 30 s, ends with 1 if they behave otherwise, and printed:
#
#	Authlib 1.2.0, import_key_set: alone read, beside AKP refused, beside secp256k1 read
#	Authlib 1.2.0, jwt.decode: alone read, beside AKP read, beside secp256k1 read
#	PyJWT 2.6.0: alone read, beside AKP read, beside secp256k1 read
#	Rhonabwy 1.1.11: alone read, beside AKP refused, beside secp256k1 read
#	go-jose v4.1.9: alone read, beside AKP refused, beside secp256k1 refused
#	go-oidc v3.21.0: alone read, beside AKP read, beside secp256k1 read
#	jwcrypto 1.1: alone read, beside AKP refused, beside secp256k1 read
#	jwx v3.4.0: alone read, beside AKP refused, beside secp256k1 refused
#	keyfunc v3.9.2 from a text: alone read, beside AKP refused, beside secp256k1 refused
#	keyfunc v3.9.2 from an address: alone read, beside AKP read, beside secp256k1 read
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
chmod 755 .
for p in python3-authlib python3-jwcrypto python3-jwt python3-deprecated python3-wrapt python3-cryptography python3-cffi-backend rnbyc librhonabwy1.1 liborcania2.3 libyder2.0 libjansson4 libcurl3-gnutls; do
	apt-get download -q "$p" >/dev/null 2>&1 || { echo "Debian's package $p cannot be had (apt-get update?)"; exit 1; }
done
for p in *.deb; do dpkg-deb -x "$p" root; done
cat >main.go <<'GO'
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "u", "exp": time.Now().Unix() + 900})
	t.Header["kid"] = "good"
	token, err := t.SignedString(private)
	must(err)
	must(os.WriteFile("token", []byte(token), 0o600))
	text, err := json.Marshal(jose.JSONWebKey{Key: private.Public(), KeyID: "good", Algorithm: "ES256", Use: "sig"})
	must(err)
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}))
	defer server.Close()
	version := map[string]string{}
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		version[m.Path] = m.Version
	}
	ctx := context.Background()
	for _, extra := range []struct{ name, key string }{
		{"alone", ""},
		{"beside AKP", `{"kty":"AKP","alg":"ML-DSA-44","kid":"new","use":"sig","pub":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 1312)) + `"}`},
		// The generator of the curve.
		{"beside secp256k1", `{"kty":"EC","crv":"secp256k1","alg":"ES256K","kid":"new","use":"sig","x":"eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g","y":"SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg"}`},
	} {
		keys := string(text)
		if extra.key != "" {
			keys += "," + extra.key
		}
		body = []byte(`{"keys":[` + keys + `]}`)
		must(os.WriteFile("set "+extra.name, body, 0o600))
		say := func(name string, err error) {
			said := "read"
			if err != nil {
				said = "refused"
			}
			fmt.Printf("%s, the key %s: %s\n", name, extra.name, said)
		}
		var set jose.JSONWebKeySet
		say("go-jose "+version["github.com/go-jose/go-jose/v4"], json.Unmarshal(body, &set))
		_, err := oidc.NewRemoteKeySet(ctx, server.URL).VerifySignature(ctx, token)
		say("go-oidc "+version["github.com/coreos/go-oidc/v3"], err)
		_, err = jwk.Parse(body)
		say("jwx "+version["github.com/lestrrat-go/jwx/v3"], err)
		name := "keyfunc " + version["github.com/MicahParks/keyfunc/v3"]
		_, err = keyfunc.NewJWKSetJSON(body)
		say(name+" from a text", err)
		k, err := keyfunc.NewDefaultCtx(ctx, []string{server.URL})
		if err == nil {
			_, err = jwt.Parse(token, k.Keyfunc)
		}
		say(name+" from an address", err)
	}
}
GO
export GOWORK=off GOFLAGS=-mod=mod
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	github.com/MicahParks/keyfunc/v3 v3.9.2
	github.com/coreos/go-oidc/v3 v3.21.0
	github.com/go-jose/go-jose/v4 v4.1.9
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/lestrrat-go/jwx/v3 v3.4.0
)
MOD
go build -o main . 2>build || { cat build; exit 1; }
./main 2>/dev/null >out
cat >main.py <<'PY'
import importlib.metadata
import json
import warnings

import jwt
from authlib.jose import JsonWebKey, jwt as authlib_jwt
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT

warnings.simplefilter("ignore")
token = open("token").read()


def authlib_decode(text):
    authlib_jwt.decode(token, json.loads(text))


def authlib_import(text):
    authlib_jwt.decode(token, JsonWebKey.import_key_set(json.loads(text)))


def jwcrypto(text):
    JWT(jwt=token, key=JWKSet.from_json(text))


def pyjwt(text):
    key = next(k for k in jwt.PyJWKSet.from_json(text).keys if k.key_id == "good")
    jwt.decode(token, key.key, algorithms=["ES256"])


for name in "alone", "beside AKP", "beside secp256k1":
    text = open("set " + name).read()
    for package, more, check in ("Authlib", ", jwt.decode", authlib_decode), ("Authlib", ", import_key_set", authlib_import), ("jwcrypto", "", jwcrypto), ("PyJWT", "", pyjwt):
        try:
            check(text)
            said = "read"
        except Exception:
            said = "refused"
        print(f"{package} {importlib.metadata.version(package)}{more}, the key {name}: {said}")
PY
PYTHONPATH=$dir/root/usr/lib/python3/dist-packages env PATH="$(getconf PATH)" python3 main.py >>out
version=$(dpkg-deb -f librhonabwy1.1_*.deb Version | sed 's/-.*//')
export LD_LIBRARY_PATH=$(echo "$dir"/root/usr/lib/*-linux-gnu)
for name in alone "beside AKP" "beside secp256k1"; do
	said=$(root/usr/bin/rnbyc -t "$(cat token)" -P "set $name" -C false 2>&1) || :
	case $said in
	*'Invalid jwks_pubkey'*) said=refused ;;
	*'Token signature verified'*) said=read ;;
	esac
	echo "Rhonabwy $version, the key $name: $said" >>out
done
# One line for each library.
awk -F', the key ' '{ split($2, a, ": "); if (!($1 in said)) order[++n] = $1; said[$1] = said[$1] (said[$1] ? ", " : "") a[1] " " a[2] } END { for (i = 1; i <= n; i++) print order[i] ": " said[order[i]] }' out | LC_ALL=C sort | tee lines
grep -P '^#\t' "$here" | cut -c3- | cmp - lines
