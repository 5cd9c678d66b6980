package issue

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// payload writes the claims. Every string goes through a JSON encoder, names too:
// jwx v2 and others wrote names as they came, and the claim `x":0,"admin` forged
// another (GHSA-4cf7-xm37-g63h).
func (i *Issuer) payload(r Request, id string, t instants) ([]byte, error) {
	w := payloadWriter{buf: make([]byte, 0, 512)}
	w.value("iss", "Config.Issuer", i.cfg.Issuer)
	w.value("sub", "Subject", r.Subject)
	w.value("client_id", "Client", r.Client)
	w.audience(r.Audience)
	w.value("jti", "jti", id)
	w.date("iat", t.issued)
	w.date("exp", t.expires)
	w.name(shape.Minted)
	w.buf = strconv.AppendInt(w.buf, t.minted, 10)
	if !r.NotBefore.IsZero() {
		w.date("nbf", floorSecond(r.NotBefore.UnixMilli()))
	}
	if r.Session != "" {
		w.value("sid", "Session", r.Session)
	}
	if r.Tenant != "" {
		w.value(i.cfg.TenantClaim, "Tenant", r.Tenant)
	}
	if len(r.Scope) > 0 {
		w.scope(r.Scope)
	}
	if !r.AuthTime.IsZero() {
		w.date("auth_time", floorSecond(r.AuthTime.UnixMilli()))
	}
	if r.ACR != "" {
		w.name("acr")
		w.text("ACR", r.ACR)
	}
	if len(r.AMR) > 0 {
		w.name("amr")
		w.texts("AMR", r.AMR)
	}
	w.binding(r.Binding)
	w.claims(r.Claims, i.cfg.TenantClaim)
	if w.err != nil {
		return nil, w.err
	}
	return append(w.buf, '}'), nil
}

// A payloadWriter appends members to an object. After the first error it is idle.
type payloadWriter struct {
	buf []byte
	err error
}

func (w *payloadWriter) fail(field string, err error) {
	if w.err == nil {
		w.err = fmt.Errorf("field %s %w", field, err)
	}
}

func (w *payloadWriter) name(name string) {
	if len(w.buf) == 0 {
		w.buf = append(w.buf, '{')
	} else {
		w.buf = append(w.buf, ',')
	}
	w.text("claim name", name)
	w.buf = append(w.buf, ':')
}

func (w *payloadWriter) text(field, s string) {
	if !utf8.ValidString(s) {
		w.fail(field, errors.New("is not valid UTF-8"))
		return
	}
	buf, err := strictjson.AppendText(w.buf, s)
	if err != nil {
		w.fail(field, err)
		return
	}
	w.buf = buf
}

func (w *payloadWriter) texts(field string, all []string) {
	w.buf = append(w.buf, '[')
	for i, s := range all {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.text(field, s)
	}
	w.buf = append(w.buf, ']')
}

// value writes a claim that the denylist may name.
func (w *payloadWriter) value(name, field, s string) {
	if err := shape.CheckValue(s); err != nil {
		w.fail(field, err)
	}
	w.name(name)
	w.text(field, s)
}

// date writes a NumericDate in whole seconds: a fraction, which RFC 7519 section 2
// allows, makes some verifiers refuse the token.
func (w *payloadWriter) date(name string, ms int64) {
	if ms < 0 || ms > shape.MaxSeconds*1000 {
		w.fail(name, errors.New("is before 1970 or after 9999"))
		return
	}
	w.name(name)
	w.buf = strconv.AppendInt(w.buf, ms/1000, 10)
}

func (w *payloadWriter) audience(audience []string) {
	if len(audience) == 0 {
		w.fail("Audience", errors.New("is empty: the token would be for nobody"))
	}
	for _, a := range audience {
		switch {
		case a == "":
			w.fail("Audience", errors.New("holds an empty name"))
		case a == "*":
			w.fail("Audience", errors.New("is a wildcard: name the services (RFC 8725 section 3.9)"))
		}
	}
	w.name("aud")
	if len(audience) == 1 {
		w.text("Audience", audience[0])
	} else {
		w.texts("Audience", audience)
	}
}

func (w *payloadWriter) scope(scope []string) {
	for _, s := range scope {
		if shape.IsNoScopeToken(s) {
			w.fail("Scope", errors.New("holds what is no scope-token (RFC 6749 section 3.3)"))
		}
	}
	w.name("scope")
	w.text("Scope", strings.Join(scope, " "))
}

// claims writes the caller's own claims, in the order of their names.
func (w *payloadWriter) claims(claims map[string]any, tenantClaim string) {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		field := fmt.Sprintf("Claims[%q]", name)
		if err := shape.CheckName(name); err != nil {
			w.fail(field, err)
			continue
		}
		if strings.EqualFold(name, tenantClaim) {
			w.fail(field, errors.New("is the tenant claim: use Tenant"))
			continue
		}
		if !validText(claims[name], 0) {
			w.fail(field, errors.New("holds text that is not valid UTF-8"))
			continue
		}
		value, err := json.Marshal(claims[name])
		if err != nil {
			w.fail(field, fmt.Errorf("cannot be encoded: %w", err))
			continue
		}
		w.name(name)
		w.buf = append(w.buf, value...)
	}
}

// validText reports whether the strings in v are valid UTF-8, as deep as plain maps
// and slices go: encoding/json replaces bad bytes silently.
func validText(v any, depth int) bool {
	if depth > 100 {
		return true // json.Marshal refuses what refers to itself, and decodeClaims what nests so deeply
	}
	switch v := v.(type) {
	case string:
		return utf8.ValidString(v)
	case []string:
		return !slices.ContainsFunc(v, func(s string) bool { return !utf8.ValidString(s) })
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !validText(e, depth+1) })
	case map[string]any:
		for k, e := range v {
			if !utf8.ValidString(k) || !validText(e, depth+1) {
				return false
			}
		}
	case map[string]string:
		for k, e := range v {
			if !utf8.ValidString(k) || !utf8.ValidString(e) {
				return false
			}
		}
	}
	return true
}

// binding writes cnf. What it writes needs no escaping.
func (w *payloadWriter) binding(b token.Binding) {
	if b.IsZero() {
		return
	}
	if err := checkBinding(b); err != nil {
		w.fail("Binding", err)
		return
	}
	w.name("cnf")
	open := byte('{')
	for _, m := range []struct{ name, value string }{{"jkt", b.KeyThumbprint}, {"x5t#S256", b.CertificateThumbprint}} {
		if m.value != "" {
			w.buf = append(w.buf, open)
			w.buf = fmt.Appendf(w.buf, `"%s":"%s"`, m.name, m.value)
			open = ','
		}
	}
	w.buf = append(w.buf, '}')
}

// checkBinding refuses what [Request].Binding cannot be. Its errors follow a name.
func checkBinding(b token.Binding) error {
	switch {
	case b.KeyThumbprint != "" && !shape.IsDigest(b.KeyThumbprint):
		return errors.New("has a KeyThumbprint that is not a SHA-256 digest in base64url")
	case b.CertificateThumbprint != "" && !shape.IsDigest(b.CertificateThumbprint):
		return errors.New("has a CertificateThumbprint that is not a SHA-256 digest in base64url")
	}
	return nil
}
