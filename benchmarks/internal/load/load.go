// Package load makes what the benchmarks measure with: tokens as services see them, and
// denylists as they fill.
package load

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Issuer is the iss of all tokens.
const Issuer = "https://auth.example.com"

// Must returns v, or panics: a benchmark that cannot be set up has nothing to say.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Errorf("setting up: %w", err))
	}
	return v
}

// A Party issues tokens of ten claims, and has what verifies them bare.
type Party struct {
	Algorithm token.Algorithm
	Ring      *issue.Keyring
	Issuer    *issue.Issuer
	Public    crypto.PublicKey
}

// NewParty makes a key for EdDSA, ES256 or RS256 (2,048 bits).
func NewParty(alg token.Algorithm) Party {
	var private crypto.Signer
	switch alg {
	case token.EdDSA:
		_, k, err := ed25519.GenerateKey(nil)
		private = Must(k, err)
	case token.ES256:
		private = Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	case token.RS256:
		private = Must(rsa.GenerateKey(rand.Reader, 2048))
	}
	ring := Must(issue.NewKeyring(issue.KeyringConfig{}, Must(issue.NewSigningKey("", alg, private))))
	return Party{alg, ring, Must(issue.NewIssuer(issue.Config{Issuer: Issuer, Keys: ring})), private.Public()}
}

// KeyID is the kid of the tokens.
func (p Party) KeyID() string { return p.Ring.Active().ID() }

// Tokens issues n tokens, each of another user's session.
func (p Party) Tokens(n int) []string {
	raws := make([]string, n)
	for i := range raws {
		raws[i] = Must(p.Issuer.Issue(context.Background(), issue.Request{
			Subject: rand.Text(), Client: "web", Session: rand.Text(), Tenant: "acme", Audience: []string{"orders"},
			Scope: []string{"orders.read", "orders.write"}, Claims: map[string]any{"role": "clerk"}, Lifetime: 15 * time.Minute,
		})).Raw()
	}
	return raws
}

// Verifier returns one for the tokens; with cacheBytes 0 it remembers none.
func (p Party) Verifier(list *revoke.List, cacheBytes int) *token.Verifier {
	return p.VerifierBy(p.Ring, list, cacheBytes)
}

// VerifierBy returns one that finds the key in keys.
func (p Party) VerifierBy(keys token.KeySet, list *revoke.List, cacheBytes int) *token.Verifier {
	return Must(token.NewVerifier(token.VerifierConfig{
		Issuer: Issuer, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{p.Algorithm}, Keys: keys, Revocations: list, OwnIssuer: true,
		CacheBytes: cacheBytes, NoCache: cacheBytes == 0,
	}))
}

// RemoteKeys returns the keys as a service reads them that is not the issuer, without a socket.
func (p Party) RemoteKeys() *token.RemoteKeySet {
	return Must(token.NewRemoteKeySet(context.Background(), Issuer+"/jwks.json", token.RemoteKeySetConfig{Transport: served{p.Ring}}))
}

// served answers requests by a handler.
type served struct{ http.Handler }

func (s served) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// A Signature is what the bare check takes: all is prepared but the digest.
type Signature struct{ input, bytes []byte }

// Signatures takes tokens apart.
func (p Party) Signatures(raws []string) []Signature {
	all := make([]Signature, len(raws))
	for i, raw := range raws {
		dot := strings.LastIndexByte(raw, '.')
		sig := Must(base64.RawURLEncoding.DecodeString(raw[dot+1:]))
		if p.Algorithm == token.ES256 {
			sig = Must(asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])}))
		}
		all[i] = Signature{[]byte(raw[:dot]), sig}
	}
	return all
}

// Bare checks s with the standard library alone.
func (p Party) Bare(s *Signature) bool {
	switch public := p.Public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(public, s.input, s.bytes)
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(s.input)
		return ecdsa.VerifyASN1(public, digest[:], s.bytes)
	case *rsa.PublicKey:
		digest := sha256.Sum256(s.input)
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], s.bytes) == nil
	}
	return false
}

// FreshList returns a List that a log feeds and a heartbeat has proven; the log consists
// of that heartbeat.
func FreshList() *revoke.List {
	list := Must(revoke.NewList(revoke.Config{MaxStaleness: time.Hour}))
	feed := Must(replica.NewFeed(list))
	now := revoke.Now()
	sub := feed.Begin(now, replica.LogInfo{Retention: revoke.DefaultRetention()})
	nonce := [16]byte{1}
	feed.Sent(now, nonce)
	record := replica.Record{Generation: sub.Generation, Delivery: 1, Sequence: 1, Time: now.Time()}
	if err := feed.Heartbeat(revoke.Now(), record, replica.Heartbeat{Nonce: nonce, Time: now.Time()}); err != nil {
		panic(err)
	}
	if s := list.Status(revoke.Now()); s.State != revoke.StateFresh {
		panic(fmt.Errorf("setting up: the list is %s (%s)", s.State, s.Reason))
	}
	return list
}

// Value is the value of the i-th revocation: 32 hexadecimal digits.
func Value(i int) string { return fmt.Sprintf("%032x", i) }

// Kind is its kind: token, session and subject as 100 : 10 : 1.
func Kind(i int) revoke.Kind {
	switch {
	case i%111 == 0:
		return revoke.KindSubject
	case i%11 == 0:
		return revoke.KindSession
	}
	return revoke.KindToken
}

// Events calls do for n live revocations and ten of each other kind.
func Events(n int, do func(revoke.Event)) {
	past := time.Now().Add(-time.Hour)
	for i := range n {
		e := revoke.Event{Issuer: Issuer, Kind: Kind(i), Value: Value(i)}
		if e.Kind == revoke.KindSubject {
			e.Before = past
		}
		do(e)
	}
	for i := range 10 {
		do(revoke.Event{Issuer: Issuer, Kind: revoke.KindClient, Value: fmt.Sprint("client", i), Before: past})
		do(revoke.Event{Issuer: Issuer, Kind: revoke.KindTenant, Value: fmt.Sprint("tenant", i), Before: past})
		do(revoke.Event{Issuer: Issuer, Kind: revoke.KindKey, Value: fmt.Sprintf("%042dA", i)})
	}
	do(revoke.Event{Issuer: Issuer, Kind: revoke.KindIssuer, Before: past})
}

// Revoke adds them to a List.
func Revoke(list *revoke.List, n int) {
	now := revoke.Now()
	Events(n, func(e revoke.Event) {
		if err := list.Apply(now, e); err != nil {
			panic(fmt.Errorf("setting up: %w", err))
		}
	})
}

// An Asked is a token as a denylist sees it.
type Asked struct {
	Identity revoke.Identity
	Keys     [7]string // of the seven kinds, in their order
	Revoked  bool
}

// Ask makes n tokens, of which one in a thousand is among the first live revocations.
// No two are alike, so that nothing is asked about twice.
func Ask(n, live int) []Asked {
	now := time.Now()
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	all := make([]Asked, n)
	for i := range all {
		jti, revoked := Value(live+i+1), i%1000 == 999
		if revoked {
			for j := rng.IntN(live); ; j = rng.IntN(live) {
				if Kind(j) == revoke.KindToken {
					jti = Value(j)
					break
				}
			}
		}
		k := [7]string{jti, fmt.Sprintf("%031xs", live+i), fmt.Sprintf("user-%d", i), fmt.Sprintf("app-%d", i%50), fmt.Sprintf("org-%d", i%1000), fmt.Sprintf("%042dB", i%3), Issuer}
		all[i] = Asked{Keys: k, Revoked: revoked, Identity: revoke.Identity{
			Issuer: k[6], Token: k[0], Session: k[1], Subject: k[2], Client: k[3], Tenant: k[4], Key: k[5], IssuedAt: now, ExpiresAt: now.Add(15 * time.Minute),
		}}
	}
	return all
}

// Arriving calls apply, a thousand times a second for as many values as that makes, until
// the function it returns is called, which returns how many a second it got to.
func Arriving(perSecond int, apply func(value string)) (stop func() float64) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	start, n := time.Now(), 0
	wg.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			for due := int(time.Since(start).Seconds() * float64(perSecond)); n < due; n++ {
				apply(fmt.Sprintf("new-%029x", n))
			}
		}
	})
	return func() float64 {
		close(done)
		wg.Wait()
		return float64(n) / time.Since(start).Seconds()
	}
}
