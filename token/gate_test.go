package token_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// A forgery is one bad token beside the good one that differs from it in nothing
// but what is wrong.
type forgery struct {
	name      string
	bad, good string
	want      error
}

// forgeSet is the verifier that the tables run against: four public keys of three
// types.
type forgeSet struct {
	ed, ec, rs, ps forge.Signer
	now            time.Time
	keys           *forge.CountedKeys
	verifier       *token.Verifier
}

func newForgeSet(t testing.TB) *forgeSet {
	s := &forgeSet{
		ed:  forge.Ed(t, "ed", forge.Keys().Ed),
		ec:  forge.EC(t, "ec"),
		rs:  forge.RS(t, "rs"),
		ps:  forge.PS(t, "ps", 32),
		now: time.Now(),
	}
	s.keys = &forge.CountedKeys{KeySet: forge.StaticKeys(t, s.ed, s.ec, s.rs, s.ps)}
	s.verifier = forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms = []token.Algorithm{token.EdDSA, token.ES256, token.RS256, token.PS256}
		c.Keys = s.keys
	})
	return s
}

func (s *forgeSet) claims() forge.Object { return forge.Claims(s.now) }

// header changes the header of an otherwise good token.
func (s *forgeSet) header(change func(forge.Object) forge.Object) string {
	return s.ed.Forge(change(s.ed.Header()), s.claims())
}

// gateForgeries must be refused before a key is looked up.
func (s *forgeSet) gateForgeries() []forgery {
	good := s.ed.Forge(s.ed.Header(), s.claims())
	parts := strings.Split(good, ".")
	join := func(p ...string) string { return strings.Join(p, ".") }
	h := s.header
	set := func(name, raw string) string {
		return h(func(o forge.Object) forge.Object { return o.With(name, raw) })
	}
	raw := func(header string) string { return s.ed.Forge(forge.Text(header), s.claims()) }

	// Payloads chosen so that the segment's alphabet and length allow each misspelling.
	var sloppy string
	for pad := ""; ; pad += "?" { // '?' and '~' encode to '_' and '-'
		p := forge.Base64(s.claims().With("pad", `"~~~?`+pad+`"`).String())
		if len(p)%4 == 2 && strings.Contains(p, "_") {
			sloppy = p
			break
		}
	}
	sloppyGood := s.ed.ForgeRaw(parts[0], sloppy)
	ecGood := s.ec.Forge(s.ec.Header(), s.claims())
	ecParts := strings.Split(ecGood, ".")

	flat, _ := json.Marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})
	general := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2])
	bogus := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":"AAAA"},{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[0], parts[2])
	unprotected := fmt.Sprintf(`{"payload":%q,"header":{"alg":"EdDSA"},"signature":%q}`, parts[1], parts[2])

	b64False := s.ed.Header().With("b64", "false").With("crit", `["b64"]`)
	b64Input := forge.Base64(b64False.String()) + "." + s.claims().String()
	b64Raw := b64Input + "." + base64.RawURLEncoding.EncodeToString(s.ed.Sign([]byte(b64Input)))

	malformed, alg, typ := token.ErrMalformed, token.ErrAlgorithm, token.ErrType
	all := []forgery{
		// Size (CVE-2025-30204, CVE-2025-27144).
		{"a header of 10 MiB", s.header(func(o forge.Object) forge.Object { return o.With("pad", `"`+strings.Repeat("a", 10<<20)+`"`) }), good, token.ErrTooLarge},
		{"a million dots", strings.Repeat(".", 1_000_000), good, token.ErrTooLarge},
		{"8 KiB of dots", strings.Repeat(".", 8<<10), good, malformed},
		{"one byte above 8 KiB", good + strings.Repeat("A", 8<<10-len(good)+1), good, token.ErrTooLarge},

		// Shape: a JWS in compact form or nothing.
		{"empty", "", good, malformed},
		{"two segments", join(parts[0], parts[1]), good, malformed},
		{"four segments", join(parts[0], parts[1], parts[2], parts[2]), good, malformed},
		{"empty header", join("", parts[1], parts[2]), good, malformed},
		{"empty payload (detached content)", join(parts[0], "", parts[2]), good, malformed},
		{"empty signature", join(parts[0], parts[1], ""), good, malformed},
		{"alg none and no signature (CVE-2026-28802, CVE-2022-23540)", join(forge.Base64(`{"alg":"none","typ":"at+jwt"}`), parts[1], ""), good, malformed},
		{"flat JSON serialisation", string(flat), good, malformed},
		{"a compact token inside of JSON (CVE-2022-39227)", `{"` + parts[0] + `.":"` + parts[1] + `.` + parts[2] + `","x":` + string(flat) + `}`, good, malformed},
		{"four dots (CVE-2026-34986)", "....", good, malformed},
		{"a compressed JWE (CVE-2024-28122, CVE-2024-28180, CVE-2025-63811, CVE-2024-33664)", join(forge.Base64(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`), "", parts[1], parts[1], parts[2]), good, malformed},
		{"general JSON serialisation", general, good, malformed},
		{"general JSON serialisation with one bogus signature (CVE-2016-9122)", bogus, good, malformed},
		{"JSON serialisation with alg unprotected (GHSA-jc38-x7x8-2xc8, CVE-2024-21664)", unprotected, good, malformed},
		{"JWE of five segments (CVE-2023-51774, CVE-2026-29000)", join(forge.Base64(`{"alg":"dir","enc":"A256GCM"}`), parts[1], parts[1], parts[1], parts[2]), good, malformed},
		{"PBES2 with p2c=2e9 (CVE-2023-49290)", join(forge.Base64(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2000000000}`), parts[1], parts[1], parts[1], parts[2]), good, malformed},

		// Spelling: one token has one spelling.
		{"leading space", " " + good, good, malformed},
		{"trailing newline", good + "\n", good, malformed},
		{"trailing CR LF", good + "\r\n", good, malformed},
		{"newline inside the header", join(parts[0][:8]+"\n"+parts[0][8:], parts[1], parts[2]), good, malformed},
		{"CR inside the payload", join(parts[0], parts[1][:8]+"\r"+parts[1][8:], parts[2]), good, malformed},
		{"newline inside the signature", join(parts[0], parts[1], parts[2][:8]+"\n"+parts[2][8:]), good, malformed},
		{"tab inside the payload", join(parts[0], parts[1][:8]+"\t"+parts[1][8:], parts[2]), good, malformed},
		{"NUL at the end", good + "\x00", good, malformed},
		{"not ASCII", join(parts[0], parts[1]+"é", parts[2]), good, malformed},
		{"'=' after the payload", join(parts[0], sloppy+"==", strings.Split(sloppyGood, ".")[2]), sloppyGood, malformed},
		{"'=' after the signature", ecGood + "==", ecGood, malformed},
		{"'/' for '_' in the payload", strings.Replace(sloppyGood, "_", "/", 1), sloppyGood, malformed},
		{"stray bits in the payload", join(parts[0], nextLetter(sloppy), strings.Split(sloppyGood, ".")[2]), sloppyGood, malformed},
		{"stray bits in the signature", join(ecParts[0], ecParts[1], nextLetter(ecParts[2])), ecGood, malformed},
		{"a segment of 4n+1 letters", join(parts[0], parts[1]+strings.Repeat("A", (5-len(parts[1])%4)%4), parts[2]), good, malformed},

		// Header form.
		{"header is an array", raw(`[]`), good, malformed},
		{"header is a string", raw(`"alg"`), good, malformed},
		{"header is null", raw(`null`), good, malformed},
		{"header is not JSON", raw(`alg=EdDSA`), good, malformed},
		{"header ends early", raw(`{"alg":"EdDSA","typ":"at+jwt"`), good, malformed},
		{"JSON after the header", raw(s.ed.Header().String() + `{}`), good, malformed},
		{"header with a byte order mark", raw("\ufeff" + s.ed.Header().String()), good, malformed},
		{"header not UTF-8", h(func(o forge.Object) forge.Object { return o.With("x", "\"\xff\"") }), good, malformed},
		{"header with half a surrogate", h(func(o forge.Object) forge.Object { return o.With("x", `"\ud800"`) }), good, malformed},
		{"alg twice: none first", raw(`{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"ed"}`), good, malformed},
		{"alg twice, the same", h(func(o forge.Object) forge.Object { return o.Plus("alg", `"EdDSA"`) }), good, malformed},
		{"alg twice, once escaped", raw(`{"alg":"EdDSA","\u0061lg":"EdDSA","typ":"at+jwt","kid":"ed"}`), good, malformed},
		{"unknown member twice", h(func(o forge.Object) forge.Object { return o.Plus("x", "1").Plus("x", "1") }), set("x", "1"), malformed},
		{"duplicate deep inside", set("x", `{"a":1,"a":2}`), set("x", `{"a":1,"b":2}`), malformed},

		// Critical and encoding members (CVE-2025-59420, CVE-2026-32597).
		{"crit of an extension that is there", h(func(o forge.Object) forge.Object { return o.With("crit", `["x-mfa"]`).With("x-mfa", "true") }), set("x-mfa", "true"), malformed},
		{"empty crit", set("crit", `[]`), good, malformed},
		{"crit naming alg", set("crit", `["alg"]`), good, malformed},
		{"crit null", set("crit", `null`), good, malformed},
		{"b64 false, raw payload", b64Raw, good, malformed},
		{"b64 false, encoded payload", s.ed.Forge(b64False, s.claims()), good, malformed},
		{"b64 true", set("b64", "true"), good, malformed},
		{"zip", set("zip", `"DEF"`), good, malformed},
		{"enc", set("enc", `"A128GCM"`), good, malformed},

		// Algorithm.
		{"alg none with a signature", set("alg", `"none"`), good, alg},
		{"alg nOnE", set("alg", `"nOnE"`), good, alg},
		{"alg eddsa", set("alg", `"eddsa"`), good, alg},
		{"alg empty", set("alg", `""`), good, alg},
		{"alg with a space", set("alg", `"EdDSA "`), good, alg},
		{"alg unknown", set("alg", `"Ed448"`), good, alg},
		{"alg not in the list", set("alg", `"ES384"`), good, alg},
		{"alg missing", h(func(o forge.Object) forge.Object { return o.Without("alg") }), good, malformed},
		{"alg Alg", raw(`{"Alg":"EdDSA","typ":"at+jwt","kid":"ed"}`), good, malformed},
		{"alg null", set("alg", "null"), good, malformed},
		{"alg a number", set("alg", "256"), good, malformed},
		{"alg an array", set("alg", `["EdDSA"]`), good, malformed},

		// Type (CVE-2026-41164).
		{"typ missing", h(func(o forge.Object) forge.Object { return o.Without("typ") }), good, typ},
		{"typ JWT", set("typ", `"JWT"`), good, typ},
		{"typ secevent+jwt", set("typ", `"secevent+jwt"`), good, typ},
		{"typ logout+jwt", set("typ", `"logout+jwt"`), good, typ},
		{"typ dpop+jwt", set("typ", `"dpop+jwt"`), good, typ},
		{"typ statuslist+jwt", set("typ", `"statuslist+jwt"`), good, typ},
		{"typ token-introspection+jwt", set("typ", `"token-introspection+jwt"`), good, typ},
		{"typ with a parameter", set("typ", `"at+jwt; v=1"`), good, typ},
		{"typ with a space", set("typ", `" at+jwt"`), good, typ},
		{"typ with another tree", set("typ", `"text/at+jwt"`), good, typ},
		{"typ a number", set("typ", "1"), set("typ", `"AT+JWT"`), typ},
		{"typ null", set("typ", "null"), set("typ", `"application/at+jwt"`), typ},
		{"typ an array", set("typ", `["at+jwt"]`), set("typ", `"Application/At+JWT"`), typ},

		// kid.
		{"kid a number", set("kid", "1"), good, malformed},
		{"kid null", set("kid", "null"), good, malformed},
		{"kid empty", set("kid", `""`), good, malformed},
		{"kid of 513 bytes", set("kid", `"`+strings.Repeat("k", 513)+`"`), good, malformed},
	}

	// Algorithm confusion (CVE-2015-9235, CVE-2016-10555, CVE-2016-5431 and
	// their many children): the
	// verifier's public key, in every spelling, as an HMAC secret.
	der, _ := x509.MarshalPKIXPublicKey(forge.Keys().Rsa.Public())
	pkix := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&forge.Keys().Rsa.PublicKey)})
	jwk := fmt.Sprintf(`{"e":"AQAB","kty":"RSA","n":%q}`, base64.RawURLEncoding.EncodeToString(forge.Keys().Rsa.N.Bytes()))
	for name, secret := range map[string][]byte{
		"the PEM of the RSA key":                   pkix,
		"the PEM without its last newline":         pkix[:len(pkix)-1],
		"the PEM after a newline (CVE-2023-48223)": append([]byte("\n"), pkix...),
		"the PKCS #1 PEM (CVE-2017-11424)":         pkcs1,
		"the DER (CVE-2024-33663)":                 der,
		"the JWK (CVE-2026-48526)":                 []byte(jwk),
		"the modulus":                              forge.Keys().Rsa.N.Bytes(),
		"the Ed25519 key":                          forge.Keys().Ed.Public().(ed25519.PublicKey),
		"nothing (CVE-2026-44699)":                 {},
		"a secret known to both (CVE-2026-33322)":  forge.Secret,
	} {
		forger := forge.Signer{Alg: token.HS256, Key: s.rs.Key, Sign: forge.MAC(secret)}
		all = append(all, forgery{"HS256 keyed with " + name, forger.Forge(forger.Header(), s.claims()), s.rs.Forge(s.rs.Header(), s.claims()), alg})
	}
	return all
}

// signatureForgeries have an acceptable form and must be refused for their key or
// signature.
func (s *forgeSet) signatureForgeries(t testing.TB) []forgery {
	good := s.ed.Forge(s.ed.Header(), s.claims())
	ecGood := s.ec.Forge(s.ec.Header(), s.claims())
	rsGood := s.rs.Forge(s.rs.Header(), s.claims())
	psGood := s.ps.Forge(s.ps.Header(), s.claims())
	_, attacker, _ := ed25519.GenerateKey(rand.Reader)
	other := forge.Ed(t, "ed", attacker)
	x := base64.RawURLEncoding.EncodeToString(attacker.Public().(ed25519.PublicKey))
	jwk := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"ed","x":%q}`, x)

	unknown, signature := token.ErrUnknownKey, token.ErrSignature
	kid := func(raw string) string {
		return s.header(func(o forge.Object) forge.Object { return o.With("kid", raw) })
	}
	withSignature := func(raw string, change func([]byte) []byte) string {
		i := strings.LastIndexByte(raw, '.') + 1
		b, _ := base64.RawURLEncoding.DecodeString(raw[i:])
		return raw[:i] + base64.RawURLEncoding.EncodeToString(change(b))
	}
	fill := func(b byte) func([]byte) []byte {
		return func(sig []byte) []byte {
			for i := range sig {
				sig[i] = b
			}
			return sig
		}
	}
	parts := strings.Split(good, ".")
	expired := s.claims().With("exp", "1").With("iat", "0")

	all := []forgery{
		{"unknown kid (CVE-2025-65945)", kid(`"other"`), good, unknown},
		{"unknown kid and an empty MAC (CVE-2026-44351, CVE-2026-45363)", forge.Signer{Alg: token.EdDSA, Key: s.ed.Key, Sign: forge.MAC(nil)}.Forge(s.ed.Header().With("kid", `"other"`), s.claims()), good, unknown},
		{"kid in another case", kid(`"ED"`), good, unknown},
		{"kid a path", kid(`"../../etc/passwd"`), good, unknown},
		{"kid SQL", kid(`"ed' OR '1'='1"`), good, unknown},
		{"kid with a NUL", kid(`"ed\u0000"`), kid(`"\u0065d"`), unknown},
		{"no kid, another's signature", s.ec.Forge(s.ed.Header().Without("kid"), s.claims()), s.ed.Forge(s.ed.Header().Without("kid"), s.claims()), signature},
		{"RS256 key named, alg PS256", s.ps.Claiming(forge.Signer{Alg: token.PS256, Key: s.rs.Key, Sign: nil}).Forge(s.rs.Header().With("alg", `"PS256"`), s.claims()), psGood, unknown},
		{"PS256 key named, alg RS256", s.rs.Forge(s.ps.Header().With("alg", `"RS256"`), s.claims()), rsGood, unknown},
		{"Ed25519 key named, alg ES256", s.ec.Forge(s.ed.Header().With("alg", `"ES256"`), s.claims()), ecGood, unknown},

		{"another's key", other.Forge(other.Header(), s.claims()), good, signature},
		{"embedded jwk (CVE-2018-0114)", other.Forge(other.Header().With("jwk", jwk), s.claims()), s.header(func(o forge.Object) forge.Object { return o.With("jwk", jwk) }), signature},
		{"jku", other.Forge(other.Header().With("jku", `"https://attacker.example/jwks.json"`), s.claims()), s.header(func(o forge.Object) forge.Object { return o.With("jku", `"https://attacker.example/jwks.json"`) }), signature},
		{"x5u", other.Forge(other.Header().With("x5u", `"https://attacker.example/x5u"`), s.claims()), s.header(func(o forge.Object) forge.Object { return o.With("x5u", `"https://attacker.example/x5u"`) }), signature},
		{"x5c (CVE-2025-24976)", other.Forge(other.Header().With("x5c", `["AAAA"]`), s.claims()), s.header(func(o forge.Object) forge.Object { return o.With("x5c", `["AAAA"]`) }), signature},
		{"payload changed (CVE-2026-23518, CVE-2026-24899, CVE-2026-38651)", strings.Join([]string{parts[0], forge.Base64(s.claims().With("sub", `"admin"`).String()), parts[2]}, "."), good, signature},
		{"header changed", strings.Join([]string{forge.Base64(s.ed.Header().Plus("x", "1").String()), parts[1], parts[2]}, "."), good, signature},
		{"signature of another token", strings.Join([]string{parts[0], parts[1], strings.Split(s.ed.Forge(s.ed.Header(), s.claims().With("jti", `"2"`)), ".")[2]}, "."), good, signature},
		{"signature of nothing but zeros", withSignature(good, fill(0)), good, signature},
		{"ES256 of zeros (CVE-2022-21449)", withSignature(ecGood, fill(0)), ecGood, signature},
		{"ES256 of ones", withSignature(ecGood, fill(0xff)), ecGood, signature},
		{"ES256 with s = n (Wycheproof 386-401)", withSignature(ecGood, func(b []byte) []byte {
			return append(b[:32], forge.Keys().Ec.Params().N.Bytes()...)
		}), ecGood, signature},
		{"ES256 in DER", withSignature(ecGood, func(b []byte) []byte {
			der, _ := forge.Keys().Ec.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
			return der
		}), ecGood, signature},
		{"ES256 with longer coordinates (CVE-2019-14859)", withSignature(ecGood, func(b []byte) []byte {
			return append(append(append([]byte{0}, b[:32]...), 0), b[32:]...)
		}), ecGood, signature},
		{"ES256 with s + n", withSignature(ecGood, func(b []byte) []byte {
			n := new(big.Int).Add(new(big.Int).SetBytes(b[32:]), forge.Keys().Ec.Params().N)
			return append(b[:32], n.Bytes()...)
		}), ecGood, signature},
		{"RS256 of zeros", withSignature(rsGood, fill(0)), rsGood, signature},
		{"RS256 with a leading zero byte", withSignature(rsGood, func(b []byte) []byte { return append([]byte{0}, b...) }), rsGood, signature},
		{"PS256 signature under RS256", s.ps.Claiming(s.rs).Forge(s.rs.Header(), s.claims()), rsGood, signature},
		{"RS256 signature under PS256", s.rs.Claiming(s.ps).Forge(s.ps.Header(), s.claims()), psGood, signature},

		// CVE-2024-51744: a bad signature is never reported as anything else.
		{"expired and badly signed", other.Forge(other.Header(), expired), good, signature},
		{"claims not JSON and badly signed", other.Forge(other.Header(), forge.Text("{")), good, signature},
		{"another issuer's and badly signed", other.Forge(other.Header(), s.claims().With("iss", `"https://other.example"`)), good, signature},
	}
	for _, salt := range []int{0, 20, 64} { // Wycheproof 281-286
		ps := forge.PS(t, "ps", salt)
		all = append(all, forgery{fmt.Sprintf("PS256 with %d bytes of salt", salt), ps.Forge(ps.Header(), s.claims()), psGood, signature})
	}
	for n := 1; n < 64; n += 9 { // CVE-2020-28042
		all = append(all, forgery{fmt.Sprintf("signature cut to %d bytes", n), withSignature(good, func(b []byte) []byte { return b[:n] }), good, signature})
	}
	return all
}

// nextLetter raises the last letter of a segment by one, which changes only bits
// that a lax decoder throws away.
func nextLetter(segment string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, segment[len(segment)-1])
	return segment[:len(segment)-1] + letters[last+1:last+2]
}

// Invariant 7: size, shape and header are judged before any key is looked for.
// Invariant 10: no refusal repeats a part of the token.
func TestGateRefuses(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		s := newForgeSet(t)
		for _, f := range s.gateForgeries() {
			before := s.keys.Lookups.Load()
			checkForgery(t, s, f)
			if n := s.keys.Lookups.Load() - before; n != 1 { // the good twin's
				t.Errorf("%s: %d look-ups for the pair, want 1", f.name, n)
			}
		}
	})
}

// Invariant 7: the signature is judged before the claims are looked at.
func TestSignatureRefuses(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		s := newForgeSet(t)
		for _, f := range s.signatureForgeries(t) {
			checkForgery(t, s, f)
		}
	})
}

func checkForgery(t *testing.T, s *forgeSet, f forgery) {
	t.Helper()
	claims, err := s.verifier.Verify(t.Context(), f.bad)
	switch {
	case claims != nil:
		t.Errorf("%s: accepted", f.name)
	case !errors.Is(err, f.want) || !errors.Is(err, token.ErrInvalidToken):
		t.Errorf("%s: error %v, want %v", f.name, err, f.want)
	case forge.Leaks(err.Error(), f.bad) != "":
		t.Errorf("%s: the error %q repeats %q (invariant 10)", f.name, err, forge.Leaks(err.Error(), f.bad))
	}
	for _, other := range []error{token.ErrTooLarge, token.ErrMalformed, token.ErrAlgorithm, token.ErrType, token.ErrUnknownKey, token.ErrSignature,
		token.ErrClaims, token.ErrBinding, token.ErrIssuer, token.ErrAudience, token.ErrExpired, token.ErrNotYetValid, token.ErrLifetime, token.ErrUnavailable} {
		if other != f.want && errors.Is(err, other) {
			t.Errorf("%s: error %v is also %v", f.name, err, other)
		}
	}
	if claims, err := s.verifier.Verify(t.Context(), f.good); err != nil || claims == nil {
		t.Errorf("%s: the good twin is refused: %v", f.name, err)
	}
}

func TestMaxTokenBytes(t *testing.T) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	for _, limit := range []int{1 << 10, 64 << 10} {
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.MaxTokenBytes = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), limit
		})
		sized := func(pad int) string {
			return ed.Forge(ed.Header(), forge.Claims(time.Now()).With("pad", `"`+strings.Repeat("a", pad)+`"`))
		}
		pad := 0
		for len(sized(pad+1)) <= limit {
			pad += max(1, (limit-len(sized(pad)))/2)
		}
		if _, err := v.Verify(t.Context(), sized(pad)); err != nil {
			t.Errorf("limit %d: %d bytes refused: %v", limit, len(sized(pad)), err)
		}
		if _, err := v.Verify(t.Context(), sized(pad+3)); !errors.Is(err, token.ErrTooLarge) {
			t.Errorf("limit %d: %d bytes: error %v", limit, len(sized(pad+3)), err)
		}
	}
}

// The HMAC side: a MAC that is right does not excuse a header that is not.
func TestHMACGate(t *testing.T) {
	hs := forge.HMAC(t, "hs")
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys = []token.Algorithm{token.HS256}, forge.StaticKeys(t, hs)
	})
	claims := forge.Claims(time.Now())
	if _, err := v.Verify(t.Context(), hs.Forge(hs.Header(), claims)); err != nil {
		t.Fatalf("good token refused: %v", err)
	}
	for _, alg := range []string{"hs256", "nOnE", "none", "HS512", "RS256"} {
		if _, err := v.Verify(t.Context(), hs.Forge(hs.Header().With("alg", `"`+alg+`"`), claims)); !errors.Is(err, token.ErrAlgorithm) {
			t.Errorf("alg %s: error %v", alg, err)
		}
	}
	empty := forge.Signer{Alg: token.HS256, Key: hs.Key, Sign: forge.MAC(nil)}
	if _, err := v.Verify(t.Context(), empty.Forge(empty.Header(), claims)); !errors.Is(err, token.ErrSignature) {
		t.Errorf("MAC with the empty key: error %v", err)
	}
}
