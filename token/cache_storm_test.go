package token_test

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
)

// TestCacheStorm: many goroutines verify a few hundred tokens, most of them remembered,
// while they are revoked one after the other, and their key goes and comes back. What
// was revoked before a Verify began is refused by it, and nothing else is; while the
// key is gone nothing is accepted. The cache is so small that it evicts all the time.
func TestCacheStorm(t *testing.T) {
	hs, keep := forge.HMAC(t, "hs"), forge.Ed(t, "ed", forge.Keys().Ed)
	var keys swappedKeys
	with, without := forge.StaticKeys(t, hs), forge.StaticKeys(t, keep)
	keys.Store(with)
	list := forge.LocalList(t, revoke.Config{})
	v := forge.Verifier(t, func(c *token.VerifierConfig) {
		c.Algorithms, c.Keys, c.CacheBytes = []token.Algorithm{token.HS256}, &keys, 192<<10
		c.Revocations, c.InsecureNoRevocations = list, false
	})
	const tokens = 300
	raws := make([]string, tokens)
	for i := range raws {
		raws[i] = hs.Forge(hs.Header(), forge.Claims(time.Now()).With("jti", strconv.Quote(fmt.Sprint("jti-", i))).With("sid", strconv.Quote(fmt.Sprint("sid-", i))).With("sub", strconv.Quote(fmt.Sprint("sub-", i))))
	}
	var begun, done [tokens]atomic.Bool // revoking it
	var epoch atomic.Int64              // odd while the key is gone; changed right after and right before it is
	var hits, accepted, refused atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := mathrand.New(mathrand.NewPCG(uint64(g), 9))
			seen := make([]*token.Claims, tokens)
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rng.IntN(tokens)
				if rng.IntN(2) == 0 {
					i = rng.IntN(20) // often enough to be remembered
				}
				before, mustRefuse := epoch.Load(), done[i].Load()
				c, err := v.Verify(t.Context(), raws[i])
				gone := before%2 == 1 && epoch.Load() == before
				switch {
				case err == nil && mustRefuse:
					t.Errorf("token %d was accepted after its revocation", i)
				case err == nil && gone:
					t.Errorf("token %d was accepted without its key", i)
				case errors.Is(err, revoke.ErrRevoked) && !begun[i].Load():
					t.Errorf("token %d was refused without a revocation", i)
				case err == nil && c.ID() != fmt.Sprint("jti-", i):
					t.Errorf("token %d was taken for %s", i, c.ID())
				case err != nil && !errors.Is(err, revoke.ErrRevoked) && !errors.Is(err, token.ErrUnknownKey):
					t.Errorf("token %d: %v", i, err)
				case err == nil:
					accepted.Add(1)
					if seen[i] == c {
						hits.Add(1)
					}
					seen[i] = c
				default:
					refused.Add(1)
				}
			}
		})
	}
	for round := range 3 * tokens {
		if i := round / 3; round%3 == 0 {
			kind, name := revoke.KindToken, "jti-"
			switch i % 3 {
			case 1:
				kind, name = revoke.KindSession, "sid-"
			case 2:
				kind, name = revoke.KindSubject, "sub-"
			}
			begun[i].Store(true)
			forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: kind, Value: fmt.Sprint(name, i)})
			done[i].Store(true)
		}
		if round%10 == 0 {
			keys.Store(without)
			epoch.Add(1)
			_, err := v.Verify(t.Context(), raws[tokens-1])
			if !errors.Is(err, token.ErrUnknownKey) {
				t.Errorf("without its key: %v", err)
			}
			epoch.Add(1)
			keys.Store(with)
		}
		for range 20 {
			v.Verify(t.Context(), raws[mathrand.IntN(tokens)])
		}
	}
	close(stop)
	wg.Wait()
	if hits.Load() < 100 || refused.Load() < 100 {
		t.Errorf("%d accepted, %d of them remembered, %d refused: too few to say anything", accepted.Load(), hits.Load(), refused.Load())
	}
	t.Logf("%d accepted, %d of them remembered, %d refused", accepted.Load(), hits.Load(), refused.Load())
}
