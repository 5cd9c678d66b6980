// Package idp starts the configuration of a [token.Verifier] for the identity providers
// that many use: Issuer, Algorithms, TenantClaim and Profile. The caller adds Keys, from
// [token.Discover] with the same Issuer and Algorithms, Audiences and Revocations. A
// [token.Profile] describes providers that are not here.
//
// It is tested against discovery documents, key sets and tokens of the shapes that these
// services document, not against the live services.
package idp

import (
	"net/url"
	"strings"

	"github.com/hybridtoken/hybridtoken/token"
)

// Keycloak describes the access tokens of a Keycloak realm, by the realm's URL as
// its tokens' iss has it: https://sso.example.com/realms/name. Older servers put
// /auth before /realms.
//
// A client's tokens name this service in aud only if an audience mapper or a client
// scope of the realm says so. Since version 25 sub comes from the client scope "basic":
// tokens of clients without it are refused, and so are lightweight access tokens, which
// hold neither sub nor aud unless mappers add them. Sessions are Keycloak's: sid, or
// session_state before version 25 (its upgrading guide); service accounts have none.
// Realms that do not sign with RS256 change Algorithms. Tokens live for as long as the
// realm and the client say, 5 minutes at first.
func Keycloak(realmURL string) token.VerifierConfig {
	return token.VerifierConfig{
		Issuer:     strings.TrimSuffix(realmURL, "/"),
		Algorithms: []token.Algorithm{token.RS256},
		Profile: token.Profile{
			Types:        []string{"JWT", "at+jwt"},
			ClientClaim:  "azp",
			SessionClaim: "session_state",
			Require:      map[string][]string{"typ": {"Bearer", "DPoP"}}, // ID tokens say "ID", logout tokens "Logout"
		},
	}
}

// Auth0 describes the access tokens of an Auth0 tenant for an API, by the tenant's
// domain, custom or not: example.eu.auth0.com. Its issuer ends with a slash.
//
// Audiences are identifiers of APIs. Never name a client ID there: ID tokens are for
// those. Tokens of the default profile have no jti and no tokens have a sid, so that
// events of kind subject, client and tenant (the organization, org_id) revoke, and
// those of kind token only with the RFC 9068 profile. The default lifetime is 24
// hours: the denylist's TokenLifetime must not be less than the API's. An API that signs
// with another algorithm than RS256 changes Algorithms; one that signs with HS256, by a
// secret that every service would have to hold, is better changed itself. Auth0 lists
// the claims of both under "Access Token Profiles".
func Auth0(domain string) token.VerifierConfig {
	return token.VerifierConfig{
		Issuer:      "https://" + strings.TrimSuffix(domain, "/") + "/",
		Algorithms:  []token.Algorithm{token.RS256},
		TenantClaim: "org_id",
		Profile: token.Profile{
			Types:       []string{"JWT", "at+jwt"},
			Optional:    []string{"jti"},
			ClientClaim: "azp",
			Refuse:      []string{"nonce", "at_hash", "c_hash"}, // an ID token's
		},
	}
}

// Cognito describes the access tokens of an Amazon Cognito user pool: Cognito(
// "eu-central-1", "eu-central-1_AbCdEfGhI").
//
// Audiences are the IDs of the app clients whose tokens are accepted; tokens that
// were asked for with a resource have an aud, which then counts instead. A session
// is what began with one sign-in (origin_jti): kind session revokes what a sign-out
// leaves behind. Tokens of the client credentials grant have none, and their sub is the
// app client. App clients whose token revocation was switched off ("Revoking tokens" in
// the guide) need not put a jti and an origin_jti into tokens, which are then refused.
// Regions whose endpoints end otherwise, as in China, change Issuer.
// Tokens live for up to a day, as the app client is configured: the denylist's
// TokenLifetime must not be less. "Understanding the access token" in Cognito's
// developer guide lists the claims, and shows a header without typ.
func Cognito(region, userPool string) token.VerifierConfig {
	return token.VerifierConfig{
		Issuer:     "https://cognito-idp." + region + ".amazonaws.com/" + url.PathEscape(userPool),
		Algorithms: []token.Algorithm{token.RS256},
		Profile: token.Profile{
			Types:         []string{"", "JWT", "at+jwt"},
			AudienceClaim: "client_id",
			SessionClaim:  "origin_jti",
			Require:       map[string][]string{"token_use": {"access"}}, // ID tokens say "id"
		},
	}
}

// Entra describes the access tokens (version 2.0) that Microsoft Entra ID issues to
// the users and applications of one tenant, for an API whose registration sets
// requestedAccessTokenVersion to 2. tenant is the tenant's GUID, as in iss. With a
// domain or "common" nothing is accepted; for several tenants see [token.OneOf], for any
// [EntraTenants].
//
// Audiences is the API's application ID. sub is another one for each API: to revoke
// by user, publish the sub that this API sees. sid, where there is one, is what began
// with one sign-in, for all APIs ("linkable identifiers"). Tokens of applications have
// neither sid nor scp, but roles: judge those by Claims.Claim. Tokens live up to 90
// minutes, and up to 28 hours where continuous access evaluation is on: the denylist's
// TokenLifetime must not be less. National clouds and external tenants have other hosts:
// change Issuer to what their metadata says. Microsoft lists the claims in its "Access
// token claims reference".
func Entra(tenant string) token.VerifierConfig {
	return token.VerifierConfig{
		Issuer:      "https://login.microsoftonline.com/" + url.PathEscape(tenant) + "/v2.0",
		Algorithms:  []token.Algorithm{token.RS256},
		TenantClaim: "tid",
		Profile: token.Profile{
			Types:       []string{"JWT", "at+jwt"},
			ClientClaim: "azp", // which ID tokens do not have
			IDClaim:     "uti",
			ScopeClaim:  "scp",
			Require:     map[string][]string{"ver": {"2.0"}},
			Refuse:      []string{"nonce", "at_hash", "c_hash"},
		},
	}
}

// EntraTenants describes what [Entra] does, for an API that any tenant may use: Issuer
// holds {tenantid} in place of the tenant's GUID. accept says which tenants' tokens are
// accepted, by tid, such as those of your customers; anybody can have a tenant, and nil is
// refused by [token.NewVerifier]. One that accepts all leaves it to the caller to judge Claims.Tenant.
//
// Keys are [token.NewRemoteKeySet] of https://login.microsoftonline.com/common/discovery/v2.0/keys,
// or …/organizations/… for tenants of work and school accounts alone, with RS256 in
// [token.RemoteKeySetConfig].Algorithms: each key there names the tenant, or all, that it signs for.
// A token is of the tenant that its tid and its iss name, both. Tenants are issuers of
// their own: events for one name its issuer, https://login.microsoftonline.com/GUID/v2.0,
// are published by a Member with it among the Issuers of its bus.Config, and concern no other tenant, even where
// sub or tid is the same.
// So does an event of kind key: keys are shared by tenants, and to end one that leaked publish its
// thumbprint for the issuer of each tenant that you accept.
func EntraTenants(accept func(tenant string) bool) token.VerifierConfig {
	cfg := Entra("")
	cfg.Issuer = "https://login.microsoftonline.com/" + tenantMark + "/v2.0"
	cfg.Profile.Tenants = accept
	return cfg
}

// tenantMark stands in an issuer for the GUID of a tenant, see [token.Profile].Tenants.
const tenantMark = "{tenantid}"

// Google describes the ID tokens that Google issues: to users who sign in, and to
// service accounts that call a service. Google's access tokens are no JWTs. An ID
// token says who somebody is, to the client that asked: Audiences are the client IDs,
// or the service URL, that are this service's own.
//
// There is no sid, and a jti not always: events of kind subject and client revoke.
// hd, the Workspace domain, is the tenant. The iss of legacy clients, without
// https:// ("OpenID Connect reference" of Google Identity), is refused.
func Google() token.VerifierConfig {
	return token.VerifierConfig{
		Issuer:      "https://accounts.google.com",
		Algorithms:  []token.Algorithm{token.RS256},
		TenantClaim: "hd",
		Profile: token.Profile{
			Types:       []string{"JWT"},
			Optional:    []string{"client_id", "jti"},
			ClientClaim: "azp",
		},
	}
}
