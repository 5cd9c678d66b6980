package token_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// CVE-2020-15222, CVE-2020-5300: of N concurrent presentations of one proof exactly one succeeds.
func TestReplayConcurrently(t *testing.T) {
	b := newBoundAPI(t, nil)
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.DPoP = []token.Algorithm{token.EdDSA}, b.ring, newDPoP(t, nil)
	})
	for range 20 {
		s := token.Sender{Proof: b.p.prove(b.raw), Method: "GET", URL: proofURL}
		var passed, replayed atomic.Int64
		var start, done sync.WaitGroup
		start.Add(1)
		for range 32 {
			done.Go(func() {
				start.Wait()
				switch _, err := v.Verify(t.Context(), b.raw, token.WithSender(s)); {
				case err == nil:
					passed.Add(1)
				case errors.Is(err, token.ErrReplayed):
					replayed.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		start.Done()
		if done.Wait(); passed.Load() != 1 || replayed.Load() != 31 {
			t.Fatalf("%d passed, %d were told replayed", passed.Load(), replayed.Load())
		}
	}
}

// A proof is used up for as long as it could be accepted, in whatever spelling, and
// another proof with its jti for the same URL is refused too.
func TestReplayEverySpelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoundAPI(t, nil)
		p := ecProver(t)
		raw := b.issueTo(t, p.jkt)
		// From its future end, a proof is good for two windows.
		iat := strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)
		claims := p.claims(raw).With("iat", iat)
		proof := p.forge(p.header(), claims)
		if r := b.send("DPoP", raw, proof); r.StatusCode != 200 {
			t.Fatalf("%d, logged %q", r.StatusCode, &b.logged)
		}
		same := map[string]string{
			"the same":              proof,
			"its twin (r, n−s)":     forge.Twin(t, proof),
			"signed anew":           p.forge(p.header(), claims),
			"htu in another form":   p.forge(p.header(), claims.With("htu", `"https://API.example.com:443/orders?x"`)),
			"another iat, same jti": p.forge(p.header(), claims.With("iat", strconv.FormatInt(time.Now().Unix(), 10))),
		}
		for i := range 25 {
			for name, proof := range same {
				if r := b.send("DPoP", raw, proof); dpopError(r) != "invalid_dpop_proof" {
					t.Fatalf("%s, after %d steps: %d", name, i, r.StatusCode)
				}
			}
			time.Sleep(5 * time.Second)
		}
		other := edProver(t)
		theirs := b.issueTo(t, other.jkt)
		jti := claims[1]
		if r := b.send("DPoP", theirs, other.forge(other.header(), other.claims(theirs).With("jti", jti))); r.StatusCode != 200 {
			t.Errorf("another sender with the same jti: %d, logged %q", r.StatusCode, &b.logged)
		}
	})
}

// The memory of used proofs is bounded, and full it refuses rather than forgets;
// other senders go on, and so does everybody when the window has passed.
func TestReplayCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoundAPI(t, func(c *token.DPoPConfig) { c.MaxProofs = 1024 })
		first := b.p.prove(b.raw)
		if r := b.send("DPoP", b.raw, first); r.StatusCode != 200 {
			t.Fatal(r.StatusCode)
		}
		passed := 1
		for range 100 {
			r := b.send("DPoP", b.raw, b.p.prove(b.raw))
			if r.StatusCode == 503 {
				if r.Header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				break
			}
			passed++
		}
		if passed != 32 { // half of a sixteenth
			t.Errorf("one sender was remembered %d times", passed)
		}
		if r := b.send("DPoP", b.raw, first); r.StatusCode != 401 {
			t.Errorf("a full cache forgot: %d", r.StatusCode)
		}
		others := 0
		for range 40 {
			p := edProver(t)
			if raw := b.issueTo(t, p.jkt); b.send("DPoP", raw, p.prove(raw)).StatusCode == 200 {
				others++
			}
		}
		if others < 38 { // one in 4,096 is taken for the same sender
			t.Errorf("one sender took the room of %d of 40", 40-others)
		}
		time.Sleep(5 * time.Minute)
		if r := b.send("DPoP", b.raw, b.p.prove(b.raw)); r.StatusCode != 200 {
			t.Errorf("after the window: %d, logged %q", r.StatusCode, &b.logged)
		}
		if r := b.send("DPoP", b.raw, first); r.StatusCode != 401 {
			t.Errorf("the first one again: %d", r.StatusCode)
		}
	})
}

// One sender whose clock is as far ahead as it may be spoils nothing for another whose
// clock is as far behind.
func TestReplayCacheAndSendersClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoundAPI(t, func(c *token.DPoPConfig) { c.MaxProofs = 16 << 10 })
		at := func(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }
		for n := range 300 {
			if n%60 == 0 {
				b.raw = b.issueTo(t, b.p.jkt)
			}
			for _, iat := range []string{at(time.Minute), at(-time.Minute)} {
				if r := b.send("DPoP", b.raw, b.p.forge(b.p.header(), b.p.claims(b.raw).With("iat", iat))); r.StatusCode != 200 {
					t.Fatalf("after %d s: %d, logged %q", n*3, r.StatusCode, &b.logged)
				}
			}
			time.Sleep(3 * time.Second)
		}
	})
}

func BenchmarkVerifyDPoP(b *testing.B) {
	for _, p := range []prover{edProver(b), ecProver(b)} {
		b.Run(p.alg, func(b *testing.B) {
			ring := forge.Ring(b, issue.KeyringConfig{})
			r := forge.Request()
			r.Binding.KeyThumbprint = p.jkt
			raw := forge.Issue(b, forge.NewIssuer(b, ring, nil), r).Raw()
			v := forge.Verifier(b, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.DPoP = []token.Algorithm{token.EdDSA}, ring, newDPoP(b, func(c *token.DPoPConfig) { c.MaxProofs = 1 << 24 })
			})
			proofs := make([]string, b.N)
			for i := range proofs {
				proofs[i] = p.forge(p.header(), p.claims(raw).With("jti", fmt.Sprintf(`"%d"`, i)))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, err := v.Verify(b.Context(), raw, token.WithSender(token.Sender{Proof: proofs[i], Method: "GET", URL: proofURL})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
