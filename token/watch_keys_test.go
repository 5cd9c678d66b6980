package token_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// hangingKeys answers no look-up while it hangs, and counts them.
type hangingKeys struct {
	token.KeySet
	hangs        atomic.Bool
	asked, under atomic.Int64
}

func (k *hangingKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	k.asked.Add(1)
	if k.hangs.Load() {
		k.under.Add(1)
		defer k.under.Add(-1)
		<-ctx.Done()
		return nil, token.ErrKeysUnavailable
	}
	return k.KeySet.Lookup(ctx, kid, alg)
}

// The key of contexts that are watched is looked up about once a second for them all; while a
// look-up hangs no other is begun.
func TestWatchAsksForKeysOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := new(hangingKeys)
		auth := tokentest.New(t, func(c *token.VerifierConfig) { keys.KeySet, c.Keys = c.Keys, keys })
		var contexts []context.Context
		for range 50 {
			ctx, stop := auth.Verifier.Watch(t.Context(), verified(t, auth))
			defer stop()
			ctx.Done()
			contexts = append(contexts, ctx)
			time.Sleep(17 * time.Millisecond)
		}
		time.Sleep(5 * time.Second)
		keys.asked.Store(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := keys.asked.Load(); n < 30 || n > 61 {
			t.Errorf("%d look-ups in a minute", n)
		}
		keys.hangs.Store(true)
		keys.asked.Store(0)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n, under := keys.asked.Load(), keys.under.Load(); n != 1 || under != 1 {
			t.Errorf("%d look-ups were begun in 9 s, %d are under way", n, under)
		}
		for _, ctx := range contexts {
			if ctx.Err() != nil {
				t.Errorf("ended: %v", context.Cause(ctx))
			}
		}
		keys.hangs.Store(false)
		time.Sleep(10 * time.Second) // the one that hangs gives up
	})
}
