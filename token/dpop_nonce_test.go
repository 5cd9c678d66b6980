package token_test

import (
	"errors"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

func withNonces(c *token.DPoPConfig) { c.RequireNonce = true }

func (b *boundAPI) proveNonce(nonce string) string {
	return b.p.forge(b.p.header(), b.p.claims(b.raw).With("nonce", strconv.Quote(nonce)))
}

// RFC 9449 section 4.3, check 10, and sections 8, 9: the client is sent a nonce, and the proof
// with it passes; forged, foreign, old and missing ones do not.
func TestDPoPNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoundAPI(t, withNonces)
		r := b.send("DPoP", b.raw, b.p.prove(b.raw))
		nonce := r.Header.Get("DPoP-Nonce")
		if r.StatusCode != 401 || dpopError(r) != "use_dpop_nonce" || nonce == "" || !bodyFits(forge.Body(t, r), `error="use_dpop_nonce"`) {
			t.Fatalf("%d %v", r.StatusCode, r.Header)
		}
		if r := b.send("DPoP", b.raw, b.proveNonce(nonce)); r.StatusCode != 200 || r.Header.Get("DPoP-Nonce") != nonce {
			t.Fatalf("with the nonce: %d %v, logged %q", r.StatusCode, r.Header, &b.logged)
		}
		flipped := []byte(nonce)
		flipped[len(flipped)-1] ^= 1 // still base64url: 24 bytes have no stray bits
		stranger := newDPoP(t, withNonces)
		for name, bad := range map[string]string{
			"empty": "", "changed": string(flipped), "cut": nonce[:31], "longer": nonce + "A", "padded": nonce + "=", "of another service": stranger.Nonce(),
			"time changed": "B" + nonce[1:], "line feed": nonce[:31] + `\n`,
		} {
			claims := b.p.claims(b.raw).With("nonce", `"`+bad+`"`)
			if r := b.send("DPoP", b.raw, b.p.forge(b.p.header(), claims)); dpopError(r) != "use_dpop_nonce" || r.Header.Get("DPoP-Nonce") != nonce {
				t.Errorf("%s: %d %v", name, r.StatusCode, r.Header)
			}
		}
		if r := b.send("DPoP", b.raw, b.p.forge(b.p.header(), b.p.claims(b.raw).Without("iat").With("nonce", strconv.Quote(nonce)))); dpopError(r) != "invalid_dpop_proof" {
			t.Errorf("no iat: %v", r.Header)
		}
		if r := b.send("DPoP", b.raw, b.p.forge(b.p.header(), b.p.claims(b.raw).With("nonce", "1"))); dpopError(r) != "invalid_dpop_proof" {
			t.Errorf("a number: %v", r.Header)
		}
		// A proof that is bad otherwise is told so first: a nonce would not help it.
		if r := b.send("DPoP", b.raw, b.p.forge(b.p.header(), b.p.claims(b.raw).With("htm", `"PUT"`))); dpopError(r) != "invalid_dpop_proof" {
			t.Errorf("another method: %v", r.Header)
		}

		time.Sleep(5 * time.Minute)
		if r := b.send("DPoP", b.raw, b.proveNonce(nonce)); r.StatusCode != 200 || r.Header.Get("DPoP-Nonce") == nonce {
			t.Errorf("at the end of its life, when there is a newer one: %d %v", r.StatusCode, r.Header)
		}
		time.Sleep(time.Millisecond)
		if r := b.send("DPoP", b.raw, b.proveNonce(nonce)); dpopError(r) != "use_dpop_nonce" {
			t.Errorf("too old: %d %v", r.StatusCode, r.Header)
		}
	})
}

// RFC 9449 section 11.1: the time in the nonce stands in for that of the client's
// clock. Replays are found all the same.
func TestDPoPNonceForClientsWithoutClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoundAPI(t, withNonces)
		nonce := b.send("DPoP", b.raw, b.p.prove(b.raw)).Header.Get("DPoP-Nonce")
		for _, iat := range []string{"0", "253402300799"} {
			proof := b.p.forge(b.p.header(), b.p.claims(b.raw).With("iat", iat).With("nonce", strconv.Quote(nonce)))
			if r := b.send("DPoP", b.raw, proof); r.StatusCode != 200 {
				t.Errorf("iat %s: %d, logged %q", iat, r.StatusCode, &b.logged)
			}
			for range 12 { // through every generation of the memory, and beyond
				if r := b.send("DPoP", b.raw, proof); r.StatusCode != 401 {
					t.Fatalf("iat %s: replayed: %d", iat, r.StatusCode)
				}
				time.Sleep(30 * time.Second)
			}
			b.raw = b.issueTo(t, b.p.jkt)
			nonce = b.send("DPoP", b.raw, b.p.prove(b.raw)).Header.Get("DPoP-Nonce")
		}
	})
}

// Instances that share a key take each other's nonces, and a key is replaced by
// putting the new one first.
func TestDPoPNonceKeys(t *testing.T) {
	one, two := [32]byte{1}, [32]byte{2}
	with := func(keys ...*[32]byte) *token.DPoP {
		return newDPoP(t, func(c *token.DPoPConfig) { c.RequireNonce, c.NonceKeys = true, keys })
	}
	p := ecProver(t)
	accepts := func(d *token.DPoP, nonce string) error {
		r := httptest.NewRequest("GET", "/orders", nil)
		r.Header.Set("DPoP", p.forge(p.header(), p.claims("").With("nonce", strconv.Quote(nonce))))
		_, err := d.Thumbprint(r)
		return err
	}
	older, both, newer := with(&one), with(&two, &one), with(&two)
	for name, x := range map[string]struct {
		at, from *token.DPoP
		want     error
	}{
		"its own":                  {older, older, nil},
		"of the older, by both":    {both, older, nil},
		"of both, by the newer":    {newer, both, nil},
		"of the older, by the new": {newer, older, token.ErrNonce},
		"of both, by the older":    {older, both, token.ErrNonce},
	} {
		if err := accepts(x.at, x.from.Nonce()); !errors.Is(err, x.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	key := one
	d := with(&key)
	nonce := d.Nonce()
	key = two // the caller's copy
	if d.Nonce() != nonce || strings.Contains(nonce, "=") {
		t.Error("the key was not copied")
	}
}
