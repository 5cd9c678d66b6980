package idp_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/idp"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// A provider is a service as it presents itself: the shapes of its metadata, its key
// set and its tokens, written down from its documentation, with keys of our own.
// None of this talks to the live services.
type provider struct {
	name        string
	cfg         token.VerifierConfig
	lifetime    time.Duration // of its tokens; zero is an hour
	audience    string
	strict      bool // its tokens follow RFC 9068, and need no Profile
	metadataURL string
	metadata    forge.Object
	jwks        func(t testing.TB) string
	header      forge.Object
	claims      func(iat int64) forge.Object
	want        revoke.Identity // but for Key and times
	bad         map[string]func(header, claims forge.Object) (forge.Object, forge.Object)
	wantBad     map[string]string
}

// rsKey is the key that they all sign with here, as each of them writes it.
func rsKey(t testing.TB, members ...string) forge.Object {
	o := forge.JWK(t, forge.Keys().Rsa.Public())
	for i := 0; i < len(members); i += 2 {
		o = o.With(members[i], members[i+1])
	}
	return o
}

func changed(pairs ...string) func(forge.Object, forge.Object) (forge.Object, forge.Object) {
	return func(header, claims forge.Object) (forge.Object, forge.Object) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == "" {
				claims = claims.Without(pairs[i])
			} else {
				claims = claims.With(pairs[i], pairs[i+1])
			}
		}
		return header, claims
	}
}

func typed(typ string) func(forge.Object, forge.Object) (forge.Object, forge.Object) {
	return func(header, claims forge.Object) (forge.Object, forge.Object) {
		return header.With("typ", strconv.Quote(typ)), claims
	}
}

func providers() []provider {
	return []provider{
		{
			name:        "Keycloak",
			cfg:         idp.Keycloak("https://sso.example.com/realms/acme/"),
			audience:    "orders",
			metadataURL: "https://sso.example.com/realms/acme/.well-known/openid-configuration",
			metadata: forge.Object{
				"issuer", `"https://sso.example.com/realms/acme"`, "token_endpoint", `"https://sso.example.com/realms/acme/protocol/openid-connect/token"`,
				"jwks_uri", `"https://sso.example.com/realms/acme/protocol/openid-connect/certs"`, "mtls_endpoint_aliases", `{"token_endpoint":"https://sso.example.com/t"}`,
			},
			jwks: func(t testing.TB) string { // a signature key and an encryption key, each with a certificate
				return forge.JWKS(
					rsKey(t, "kid", `"enc-1"`, "alg", `"RSA-OAEP"`, "use", `"enc"`, "x5c", `["AA=="]`, "x5t", `"AA"`),
					rsKey(t, "kid", `"kid-1"`, "alg", `"RS256"`, "use", `"sig"`, "x5c", `["AA=="]`, "x5t", `"AA"`, "x5t#S256", `"AA"`),
				)
			},
			header: forge.Object{"alg", `"RS256"`, "typ", `"JWT"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"exp", forge.Number(iat + 300), "iat", forge.Number(iat), "auth_time", forge.Number(iat - 60), "jti", `"onrtac:0b7c0f2e"`,
					"iss", `"https://sso.example.com/realms/acme"`, "aud", `["orders","account"]`, "sub", `"f1b0"`, "typ", `"Bearer"`, "azp", `"web"`, "sid", `"5d3a"`, "acr", `"1"`,
					"allowed-origins", `["https://shop.example.com"]`, "realm_access", `{"roles":["user"]}`, "resource_access", `{"account":{"roles":["view-profile"]}}`,
					"scope", `"openid profile"`, "email_verified", `true`, "preferred_username", `"jo"`,
				}
			},
			want: revoke.Identity{Issuer: "https://sso.example.com/realms/acme", Token: "onrtac:0b7c0f2e", Session: "5d3a", Subject: "f1b0", Client: "web"},
			bad: map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){
				"ID token": changed("typ", `"ID"`), "logout token": changed("typ", `"Logout"`), "no typ": changed("typ", ""), "another realm": changed("iss", `"https://sso.example.com/realms/other"`),
				"no audience mapper": changed("aud", `"account"`), "no basic scope": changed("sub", ""), "lightweight": changed("sub", "", "aud", ""), "no client": changed("azp", ""), "its logout+jwt": typed("logout+jwt"),
			},
			wantBad: map[string]string{"another realm": "issuer", "no audience mapper": "audience", "its logout+jwt": "type"},
		},
		{
			name:        "Keycloak, an older one",
			cfg:         idp.Keycloak("https://sso.example.com/auth/realms/acme"),
			audience:    "orders",
			metadataURL: "https://sso.example.com/auth/realms/acme/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://sso.example.com/auth/realms/acme"`, "jwks_uri", `"https://sso.example.com/auth/realms/acme/protocol/openid-connect/certs"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "kid", `"kid-1"`, "alg", `"RS256"`, "use", `"sig"`))
			},
			header: forge.Object{"alg", `"RS256"`, "typ", `"JWT"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"exp", forge.Number(iat + 300), "iat", forge.Number(iat), "nbf", `0`, "jti", `"0b7c"`, "iss", `"https://sso.example.com/auth/realms/acme"`, "aud", `"orders"`,
					"sub", `"f1b0"`, "typ", `"Bearer"`, "azp", `"web"`, "nonce", `"n"`, "session_state", `"5d3a"`, "scope", `"openid"`,
				}
			},
			want:    revoke.Identity{Issuer: "https://sso.example.com/auth/realms/acme", Token: "0b7c", Session: "5d3a", Subject: "f1b0", Client: "web"},
			bad:     map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){"refresh token": changed("typ", `"Refresh"`)},
			wantBad: map[string]string{},
		},
		{
			name:        "Keycloak, a service account with at+jwt",
			strict:      true,
			cfg:         idp.Keycloak("https://sso.example.com/realms/acme"),
			audience:    "orders",
			metadataURL: "https://sso.example.com/realms/acme/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://sso.example.com/realms/acme"`, "jwks_uri", `"https://sso.example.com/realms/acme/protocol/openid-connect/certs"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "kid", `"kid-1"`, "alg", `"RS256"`, "use", `"sig"`))
			},
			header: forge.Object{"alg", `"RS256"`, "typ", `"at+jwt"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"exp", forge.Number(iat + 300), "iat", forge.Number(iat), "jti", `"trrtcc:0b7c"`, "iss", `"https://sso.example.com/realms/acme"`, "aud", `["orders","account"]`, "sub", `"9a1c"`,
					"typ", `"Bearer"`, "azp", `"batch"`, "acr", `"1"`, "scope", `"email profile"`, "clientHost", `"192.0.2.7"`, "clientAddress", `"192.0.2.7"`, "client_id", `"batch"`,
					"preferred_username", `"service-account-batch"`,
				}
			},
			want: revoke.Identity{Issuer: "https://sso.example.com/realms/acme", Token: "trrtcc:0b7c", Subject: "9a1c", Client: "batch"},
		},
		{
			name:        "Auth0",
			cfg:         idp.Auth0("acme.eu.auth0.com"),
			lifetime:    24 * time.Hour,
			audience:    "https://orders.example.com",
			metadataURL: "https://acme.eu.auth0.com/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://acme.eu.auth0.com/"`, "jwks_uri", `"https://acme.eu.auth0.com/.well-known/jwks.json"`},
			jwks: func(t testing.TB) string { // the key in use and the next one
				next := forge.JWK(t, forge.Keys().Rsa.Public()).With("n", `"AQAB"`)
				return forge.JWKS(rsKey(t, "alg", `"RS256"`, "use", `"sig"`, "kid", `"kid-1"`, "x5t", `"AA"`, "x5c", `["AA=="]`), next.With("alg", `"RS256"`).With("kid", `"next"`))
			},
			header: forge.Object{"alg", `"RS256"`, "typ", `"JWT"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"iss", `"https://acme.eu.auth0.com/"`, "sub", `"auth0|5e0f"`, "aud", `["https://orders.example.com","https://acme.eu.auth0.com/userinfo"]`,
					"iat", forge.Number(iat), "exp", forge.Number(iat + 86400), "scope", `"openid read:orders"`, "org_id", `"org_1"`, "azp", `"web"`, "permissions", `["read:orders"]`,
				}
			},
			want: revoke.Identity{Issuer: "https://acme.eu.auth0.com/", Subject: "auth0|5e0f", Client: "web", Tenant: "org_1"},
			bad: map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){
				"ID token":                changed("aud", `"web"`, "nonce", `"n"`),
				"ID token without nonce":  changed("aud", `"web"`),
				"ID token for the API":    changed("nonce", `"n"`),
				"issuer without slash":    changed("iss", `"https://acme.eu.auth0.com"`),
				"no subject":              changed("sub", ""),
				"for userinfo alone":      changed("aud", `"https://acme.eu.auth0.com/userinfo"`),
				"of another tenant of it": changed("iss", `"https://evil.eu.auth0.com/"`),
			},
			wantBad: map[string]string{
				"ID token without nonce": "audience", "issuer without slash": "issuer", "for userinfo alone": "audience", "of another tenant of it": "issuer",
			},
		},
		{
			name:        "Auth0, RFC 9068 profile",
			strict:      true,
			cfg:         idp.Auth0("login.example.com"),
			audience:    "https://orders.example.com",
			metadataURL: "https://login.example.com/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://login.example.com/"`, "jwks_uri", `"https://login.example.com/.well-known/jwks.json"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "alg", `"RS256"`, "use", `"sig"`, "kid", `"kid-1"`))
			},
			header: forge.Object{"alg", `"RS256"`, "typ", `"at+jwt"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"iss", `"https://login.example.com/"`, "sub", `"web@clients"`, "aud", `"https://orders.example.com"`, "iat", forge.Number(iat), "exp", forge.Number(iat + 3600), "jti", `"73Wa"`, "client_id", `"web"`,
				}
			},
			want: revoke.Identity{Issuer: "https://login.example.com/", Token: "73Wa", Subject: "web@clients", Client: "web"},
		},
		{
			name:        "Auth0, an application",
			cfg:         idp.Auth0("acme.eu.auth0.com"),
			lifetime:    24 * time.Hour,
			audience:    "https://orders.example.com",
			metadataURL: "https://acme.eu.auth0.com/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://acme.eu.auth0.com/"`, "jwks_uri", `"https://acme.eu.auth0.com/.well-known/jwks.json"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "alg", `"RS256"`, "use", `"sig"`, "kid", `"kid-1"`))
			},
			header: forge.Object{"alg", `"RS256"`, "typ", `"JWT"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"iss", `"https://acme.eu.auth0.com/"`, "sub", `"batch@clients"`, "aud", `"https://orders.example.com"`, "iat", forge.Number(iat), "exp", forge.Number(iat + 86400),
					"scope", `"read:orders"`, "gty", `"client-credentials"`, "azp", `"batch"`,
				}
			},
			want: revoke.Identity{Issuer: "https://acme.eu.auth0.com/", Subject: "batch@clients", Client: "batch"},
		},
		{
			name:        "Cognito",
			cfg:         idp.Cognito("eu-central-1", "eu-central-1_AbCdEfGhI"),
			audience:    "7abc",
			metadataURL: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"`, "jwks_uri", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI/.well-known/jwks.json"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "alg", `"RS256"`, "kid", `"kid-1"`, "use", `"sig"`), rsKey(t, "alg", `"RS256"`, "kid", `"id-tokens"`, "use", `"sig"`))
			},
			header: forge.Object{"kid", `"kid-1"`, "alg", `"RS256"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"sub", `"aaaa"`, "device_key", `"d"`, "cognito:groups", `["admin"]`, "iss", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"`,
					"version", `2`, "client_id", `"7abc"`, "origin_jti", `"o-1"`, "event_id", `"e"`, "token_use", `"access"`, "scope", `"aws.cognito.signin.user.admin"`,
					"auth_time", forge.Number(iat), "exp", forge.Number(iat + 3600), "iat", forge.Number(iat), "jti", `"j-1"`, "username", `"jo"`,
				}
			},
			want: revoke.Identity{Issuer: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI", Token: "j-1", Session: "o-1", Subject: "aaaa", Client: "7abc"},
			bad: map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){
				"ID token":              changed("client_id", "", "aud", `"7abc"`, "token_use", `"id"`),
				"ID token without use":  changed("client_id", "", "aud", `"7abc"`, "token_use", ""),
				"of another client":     changed("client_id", `"8xyz"`),
				"revocation off":        changed("jti", "", "origin_jti", ""),
				"for another resource":  changed("aud", `"https://other.example.com"`),
				"of another pool":       changed("iss", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Other"`),
				"of a pool elsewhere":   changed("iss", `"https://cognito-idp.us-east-1.amazonaws.com/eu-central-1_AbCdEfGhI"`),
				"longer than an hour":   changed("exp", "4102444800"),
				"a number for a client": changed("client_id", "7"),
			},
			wantBad: map[string]string{
				"of another client": "audience", "for another resource": "audience", "of another pool": "issuer", "of a pool elsewhere": "issuer", "longer than an hour": "lifetime",
			},
		},
		{
			name:        "Cognito, an application, for a resource",
			cfg:         idp.Cognito("eu-central-1", "eu-central-1_AbCdEfGhI"),
			audience:    "https://orders.example.com",
			metadataURL: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"`, "jwks_uri", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI/.well-known/jwks.json"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "alg", `"RS256"`, "kid", `"kid-1"`, "use", `"sig"`))
			},
			header: forge.Object{"kid", `"kid-1"`, "alg", `"RS256"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"sub", `"7abc"`, "aud", `"https://orders.example.com"`, "token_use", `"access"`, "scope", `"orders/read"`, "auth_time", forge.Number(iat),
					"iss", `"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"`, "exp", forge.Number(iat + 3600), "iat", forge.Number(iat), "version", `2`, "jti", `"j-1"`, "client_id", `"7abc"`,
				}
			},
			want:    revoke.Identity{Issuer: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI", Token: "j-1", Subject: "7abc", Client: "7abc"},
			bad:     map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){"for no resource": changed("aud", "")},
			wantBad: map[string]string{"for no resource": "audience"},
		},
		{
			name:        "Entra",
			cfg:         idp.Entra(forge.TenantGUID),
			lifetime:    2 * time.Hour,
			audience:    "api-guid",
			metadataURL: "https://login.microsoftonline.com/" + forge.TenantGUID + "/v2.0/.well-known/openid-configuration",
			metadata: forge.Object{
				"issuer", `"https://login.microsoftonline.com/` + forge.TenantGUID + `/v2.0"`, "jwks_uri", `"https://login.microsoftonline.com/` + forge.TenantGUID + `/discovery/v2.0/keys"`,
				"cloud_instance_name", `"microsoftonline.com"`, "tenant_region_scope", `"EU"`,
			},
			jwks: func(t testing.TB) string { // without alg, each with its issuer
				return forge.JWKS(
					rsKey(t, "use", `"sig"`, "kid", `"kid-1"`, "x5t", `"kid-1"`, "x5c", `["AA=="]`, "issuer", `"https://login.microsoftonline.com/{tenantid}/v2.0"`, "cloud_instance_name", `"microsoftonline.com"`),
					rsKey(t, "use", `"sig"`, "kid", `"kid-2"`, "issuer", `"https://login.microsoftonline.com/`+forge.OtherGUID+`/v2.0"`),
				)
			},
			header: forge.Object{"typ", `"JWT"`, "alg", `"RS256"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"aud", `"api-guid"`, "iss", `"https://login.microsoftonline.com/` + forge.TenantGUID + `/v2.0"`, "iat", forge.Number(iat), "nbf", forge.Number(iat), "exp", forge.Number(iat + 5399),
					"aio", `"x"`, "azp", `"web"`, "azpacr", `"0"`, "name", `"Jo"`, "oid", `"o"`, "rh", `"x"`, "scp", `"orders.read orders.write"`, "sid", `"s-1"`, "sub", `"pairwise"`, "tid", `"` + forge.TenantGUID + `"`, "uti", `"u-1"`, "ver", `"2.0"`,
				}
			},
			want: revoke.Identity{Issuer: "https://login.microsoftonline.com/" + forge.TenantGUID + "/v2.0", Token: "u-1", Session: "s-1", Subject: "pairwise", Client: "web", Tenant: forge.TenantGUID},
			bad: map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){
				"ID token":              changed("azp", "", "scp", ""),
				"ID token with nonce":   changed("nonce", `"n"`),
				"version 1.0":           changed("iss", `"https://sts.windows.net/`+forge.TenantGUID+`/"`, "ver", `"1.0"`, "azp", "", "appid", `"web"`),
				"version 1.0, same iss": changed("ver", `"1.0"`),
				"of another tenant":     changed("iss", `"https://login.microsoftonline.com/`+forge.OtherGUID+`/v2.0"`, "tid", `"`+forge.OtherGUID+`"`),
				"for Graph":             changed("aud", `"00000003-0000-0000-c000-000000000000"`),
				"another tenant's key":  func(h, c forge.Object) (forge.Object, forge.Object) { return h.With("kid", `"kid-2"`), c },
			},
			wantBad: map[string]string{"of another tenant": "issuer", "for Graph": "audience", "another tenant's key": "unknown_key"},
		},
		{
			name:        "Entra, an application",
			cfg:         idp.Entra(forge.TenantGUID),
			lifetime:    2 * time.Hour,
			audience:    "api-guid",
			metadataURL: "https://login.microsoftonline.com/" + forge.TenantGUID + "/v2.0/.well-known/openid-configuration",
			metadata: forge.Object{
				"issuer", `"https://login.microsoftonline.com/` + forge.TenantGUID + `/v2.0"`, "jwks_uri", `"https://login.microsoftonline.com/` + forge.TenantGUID + `/discovery/v2.0/keys"`,
			},
			jwks:   func(t testing.TB) string { return forge.JWKS(rsKey(t, "use", `"sig"`, "kid", `"kid-1"`)) },
			header: forge.Object{"typ", `"JWT"`, "alg", `"RS256"`, "kid", `"kid-1"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"aud", `"api-guid"`, "iss", `"https://login.microsoftonline.com/` + forge.TenantGUID + `/v2.0"`, "iat", forge.Number(iat), "nbf", forge.Number(iat), "exp", forge.Number(iat + 3900),
					"aio", `"x"`, "azp", `"batch"`, "azpacr", `"2"`, "idtyp", `"app"`, "oid", `"principal"`, "rh", `"x"`, "roles", `["Orders.Read.All"]`, "sub", `"principal"`, "tid", `"` + forge.TenantGUID + `"`, "uti", `"u-2"`, "ver", `"2.0"`,
				}
			},
			want: revoke.Identity{Issuer: "https://login.microsoftonline.com/" + forge.TenantGUID + "/v2.0", Token: "u-2", Subject: "principal", Client: "batch", Tenant: forge.TenantGUID},
		},
		{
			name:        "Google, a user who signed in",
			cfg:         idp.Google(),
			audience:    "1234.apps.googleusercontent.com",
			metadataURL: "https://accounts.google.com/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://accounts.google.com"`, "jwks_uri", `"https://www.googleapis.com/oauth2/v3/certs"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "use", `"sig"`, "alg", `"RS256"`, "kid", `"kid-1"`))
			},
			header: forge.Object{"alg", `"RS256"`, "kid", `"kid-1"`, "typ", `"JWT"`},
			claims: func(iat int64) forge.Object { // of a private account: no hd
				return forge.Object{
					"iss", `"https://accounts.google.com"`, "azp", `"1234.apps.googleusercontent.com"`, "aud", `"1234.apps.googleusercontent.com"`, "sub", `"1100"`,
					"nonce", `"n"`, "email", `"jo@gmail.com"`, "email_verified", `true`, "name", `"Jo"`, "jti", `"j-1"`, "iat", forge.Number(iat), "nbf", forge.Number(iat - 300), "exp", forge.Number(iat + 3600),
				}
			},
			want: revoke.Identity{Issuer: "https://accounts.google.com", Token: "j-1", Subject: "1100", Client: "1234.apps.googleusercontent.com"},
		},
		{
			name:        "Google",
			cfg:         idp.Google(),
			audience:    "https://orders.example.com",
			metadataURL: "https://accounts.google.com/.well-known/openid-configuration",
			metadata:    forge.Object{"issuer", `"https://accounts.google.com"`, "jwks_uri", `"https://www.googleapis.com/oauth2/v3/certs"`},
			jwks: func(t testing.TB) string {
				return forge.JWKS(rsKey(t, "use", `"sig"`, "alg", `"RS256"`, "kid", `"kid-1"`), rsKey(t, "use", `"sig"`, "alg", `"RS256"`, "kid", `"kid-2"`))
			},
			header: forge.Object{"alg", `"RS256"`, "kid", `"kid-1"`, "typ", `"JWT"`},
			claims: func(iat int64) forge.Object {
				return forge.Object{
					"iss", `"https://accounts.google.com"`, "azp", `"svc"`, "aud", `"https://orders.example.com"`, "sub", `"1100"`, "hd", `"example.com"`, "email", `"jo@example.com"`,
					"email_verified", `true`, "at_hash", `"x"`, "iat", forge.Number(iat), "exp", forge.Number(iat + 3600),
				}
			},
			want: revoke.Identity{Issuer: "https://accounts.google.com", Subject: "1100", Client: "svc", Tenant: "example.com"},
			bad: map[string]func(forge.Object, forge.Object) (forge.Object, forge.Object){
				"for another client":     changed("aud", `"other.apps.googleusercontent.com"`),
				"issuer without scheme":  changed("iss", `"accounts.google.com"`),
				"by a service account":   changed("iss", `"svc@project.iam.gserviceaccount.com"`),
				"no user":                changed("sub", ""),
				"a SET of Cross-Account": typed("secevent+jwt"),
			},
			wantBad: map[string]string{
				"for another client": "audience", "issuer without scheme": "issuer", "by a service account": "issuer", "a SET of Cross-Account": "type",
			},
		},
	}
}

func TestProviders(t *testing.T) {
	forge.Keys()
	for _, p := range providers() {
		t.Run(p.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testProvider(t, p) })
		})
	}
}

func testProvider(t *testing.T, p provider) {
	w := new(forge.Web)
	w.Set(p.metadataURL, forge.JSON(p.metadata.String(), "Cache-Control", "public, max-age=3600"))
	for i := 0; i < len(p.metadata); i += 2 {
		if p.metadata[i] == "jwks_uri" {
			uri, _ := strconv.Unquote(p.metadata[i+1])
			w.Set(uri, forge.JSON(p.jwks(t), "Cache-Control", "public, max-age=22000, must-revalidate"))
		}
	}
	keys, err := token.Discover(t.Context(), p.cfg.Issuer, token.RemoteKeySetConfig{Algorithms: p.cfg.Algorithms, Transport: w})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()

	list := forge.LocalList(t, revoke.Config{TokenLifetime: p.lifetime})
	cfg := p.cfg
	cfg.Audiences, cfg.Keys, cfg.Revocations = []string{p.audience}, keys, list
	v, err := token.NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	rs := forge.RS(t, "kid-1")
	now := time.Now().Unix()
	raw := rs.Forge(p.header, p.claims(now))
	c, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatalf("%v; keys %+v", err, keys.Status())
	}
	got := c.Identity()
	if len(got.Key) != 43 || got.IssuedAt.Unix() != now {
		t.Errorf("identity %+v", got)
	}
	got.Key, got.IssuedAt, got.ExpiresAt = "", time.Time{}, time.Time{}
	if got != p.want {
		t.Errorf("identity %+v, want %+v", got, p.want)
	}
	for name, change := range p.bad {
		want := p.wantBad[name]
		if want == "" {
			want = "claims"
		}
		c, err := v.Verify(t.Context(), rs.Forge(change(p.header, p.claims(now))))
		if c != nil || !errors.Is(err, token.ErrInvalidToken) || token.Cause(err) != want && name != "version 1.0" {
			t.Errorf("%s: error %v, want one of %q", name, err, want)
		}
	}
	// A verifier without the Profile accepts nothing but RFC 9068.
	strict := cfg
	strict.Profile = token.Profile{}
	if s, err := token.NewVerifier(strict); err != nil {
		t.Error(err)
	} else if _, err := s.Verify(t.Context(), raw); (err == nil) != p.strict {
		t.Errorf("without the Profile: error %v", err)
	}
	forge.Apply(t, list, revoke.Event{Kind: revoke.KindSubject, Issuer: p.cfg.Issuer, Value: p.want.Subject})
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, revoke.ErrRevoked) {
		t.Errorf("after its user was banned: error %v", err)
	}
}

// A tenant's name instead of its GUID is no issuer: nothing is ever accepted.
func TestEntraCommon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(forge.Web)
		w.Set("https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration", forge.JSON(forge.Metadata("https://login.microsoftonline.com/{tenantid}/v2.0", "https://login.microsoftonline.com/common/discovery/v2.0/keys").String()))
		w.Set("https://login.microsoftonline.com/common/discovery/v2.0/keys", forge.KeysAt(t, "k"))
		keys := forge.Discover(t, w, idp.Entra("common").Issuer)
		defer keys.Close()
		forge.Find(t, keys, "k", token.ErrKeysUnavailable)
	})
}

func ExampleKeycloak() {
	cfg := idp.Keycloak("https://sso.example.com/realms/acme")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	list, err := revoke.NewList(revoke.Config{Local: true}) // package bus feeds one over NATS
	if err != nil {
		fmt.Println(err)
		return
	}
	keys, err := token.Discover(ctx, cfg.Issuer, token.RemoteKeySetConfig{Algorithms: cfg.Algorithms, Transport: new(forge.Web)})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	cfg.Audiences, cfg.Keys, cfg.Revocations = []string{"orders"}, keys, list
	verifier, err := token.NewVerifier(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = verifier.Middleware
	fmt.Println(cfg.Issuer, keys.Status().Usable) // nobody answers here: 503 until somebody does
	// Output: https://sso.example.com/realms/acme false
}
