package web

import (
	"encoding/json"
	"maps"
	"net/http"
)

// metadata returns what the server says of itself (RFC 8414 section 2): of what it has.
func (a *App) metadata() map[string]any {
	byClients := []string{methodBasic, methodPost, methodNone}
	m := map[string]any{
		"issuer":         a.iss,
		"token_endpoint": a.base + "/token", "token_endpoint_auth_methods_supported": byClients,
		"revocation_endpoint": a.base + "/revoke", "revocation_endpoint_auth_methods_supported": byClients,
		"grant_types_supported": []string{"refresh_token"},
		// Required, and where there is no authorization endpoint there is nothing to say: clients
		// that look for the member find it.
		"response_types_supported": []string{},
	}
	if a.cfg.Resource != nil {
		m["introspection_endpoint"] = a.base + "/introspect"
		m["introspection_endpoint_auth_methods_supported"] = []string{methodBasic, methodPost}
	}
	if a.cfg.JWKS != "" {
		m["jwks_uri"] = a.cfg.JWKS
	}
	if a.cfg.DPoP != nil {
		m["dpop_signing_alg_values_supported"] = a.cfg.DPoP.Algorithms() // RFC 9449 section 5.1
	}
	if a.cfg.ClientCertificate != nil {
		m["tls_client_certificate_bound_access_tokens"] = true // RFC 8705 section 3.3
	}
	return m
}

// notReplaced are the members that the application's metadata cannot replace: they say where
// requests with secrets go.
var notReplaced = []string{"issuer", "token_endpoint", "revocation_endpoint", "introspection_endpoint", "jwks_uri"}

// publishMetadata adds the document under each spelling of its address: that of RFC 8414 section
// 3, by which the path of the issuer comes last, that of OpenID Connect Discovery 1.0 section 4,
// by which it comes first, and each with the other's name, as some clients ask (RFC 8414 section 5).
func (a *App) publishMetadata() (field, why string) {
	m := a.metadata()
	for _, name := range notReplaced {
		if _, ok := a.cfg.Metadata[name]; ok {
			return "Metadata", "holds " + name + ", which is not the application's to say"
		}
	}
	maps.Copy(m, a.cfg.Metadata)
	body, err := json.Marshal(m)
	if err != nil {
		return "Metadata", "cannot be encoded: " + err.Error()
	}
	body = append(body, '\n')
	show := func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "public, max-age=300") // it holds nothing of anybody
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Type", "application/json")
		w.Write(body) // nobody listens if it fails
	}
	e := newEndpoint(a.cfg.Origins.Metadata, map[string]http.HandlerFunc{http.MethodGet: show, http.MethodHead: show})
	path := a.issuer.Path
	addresses := map[string]bool{}
	for _, name := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		addresses[name+path], addresses[path+name] = true, true
	}
	for address := range addresses {
		a.mux.Handle(address, e)
	}
	return "", ""
}
