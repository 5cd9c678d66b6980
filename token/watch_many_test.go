package token_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A hundred thousand contexts: no goroutine for any, so much memory, and nothing of them
// afterwards, whether they ended or were stopped.
func TestManyWatches(t *testing.T) {
	n := 100_000
	if testing.Short() || raceEnabled {
		n = 10_000
	}
	auth := tokentest.New(t)
	claims := verified(t, auth)
	all := make([]*token.Claims, n)
	for i := range all {
		all[i] = claims.Numbered(i)
	}
	type watched struct {
		ctx  context.Context
		stop context.CancelFunc
	}
	contexts := make([]watched, n)
	memory := func() int {
		// Until what earlier tests have left is gone.
		for last := 0; ; {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			if now := int(m.HeapAlloc); max(now-last, last-now) < 1<<16 {
				return now
			} else {
				last = now
			}
		}
	}
	goroutines, start := runtime.NumGoroutine(), memory()
	for i := range contexts {
		contexts[i].ctx, contexts[i].stop = auth.Verifier.Watch(context.Background(), all[i])
	}
	unasked := memory()
	if young, live, _ := auth.Verifier.Watching(); young+live != 0 {
		t.Fatalf("%d watched though nobody asked", young+live)
	}
	for _, w := range contexts {
		w.ctx.Done()
	}
	asked := memory()
	t.Logf("%d bytes a context, %d once Done was called", (unasked-start)/n, (asked-start)/n)
	if (unasked-start)/n > 256 || (asked-start)/n > 2048 {
		t.Error("that is much")
	}
	if _, live, keys := auth.Verifier.Watching(); live != n || keys != 1 {
		t.Fatalf("%d live, %d keys", live, keys)
	}
	if now := runtime.NumGoroutine(); now > goroutines+10 {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	end := func(e revoke.Event, ended func(i int) bool) {
		t.Helper()
		auth.Revoke(e)
		for i, w := range contexts {
			if ended(i) {
				<-w.ctx.Done()
				if !errors.Is(context.Cause(w.ctx), revoke.ErrRevoked) {
					t.Fatalf("%d: %v", i, context.Cause(w.ctx))
				}
			}
		}
	}
	end(revoke.Event{Kind: revoke.KindSession, Value: "session-7"}, func(i int) bool { return i == 7 })
	end(revoke.Event{Kind: revoke.KindSubject, Value: "user-5"}, func(i int) bool { return i/4 == 5 })
	if _, live, _ := auth.Verifier.Watching(); live != n-5 {
		t.Errorf("%d live after two events for five", live)
	}
	for i, w := range contexts {
		if i%2 == 0 {
			w.stop()
		}
	}
	end(revoke.Event{Kind: revoke.KindIssuer}, func(i int) bool { return i%2 == 1 })
	if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 || auth.List.Stats(revoke.Now()).Watches != 0 {
		t.Errorf("%d, %d, %d are left, and %d on the denylist", young, live, keys, auth.List.Stats(revoke.Now()).Watches)
	}
	contexts = nil
	if left := memory(); left > start+n*48 { // what slices and maps keep of their size
		t.Errorf("%d bytes a context are left", (left-start)/n)
	}
	runtime.KeepAlive(all)
}

// Contexts begin, are asked, end and are stopped from all sides at once: each ends, with
// one cause, and nothing is left.
func TestWatchesFromAllSides(t *testing.T) {
	auth := tokentest.New(t)
	claims := verified(t, auth)
	var wg sync.WaitGroup
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for r := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 8))
			for i := range rounds {
				session := 1000*r + i
				ctx, stop := auth.Verifier.Watch(context.Background(), claims.Numbered(session), token.WithGrace(time.Duration(rng.IntN(3))*time.Millisecond))
				var sides sync.WaitGroup
				for _, f := range []func(){
					func() { <-ctx.Done() },
					func() { ctx.Done(); ctx.Err() },
					func() {
						child, cancel := context.WithCancel(ctx)
						defer cancel()
						<-child.Done()
					},
					func() {
						if err := auth.List.Apply(revoke.Now(), revoke.Event{Issuer: tokentest.Issuer, Kind: revoke.KindSession, Value: fmt.Sprint("session-", session)}); err != nil {
							t.Error(err)
						}
					},
					func() {
						if i%2 == 0 {
							stop()
						}
					},
				} {
					sides.Go(f)
				}
				sides.Wait()
				if cause := context.Cause(ctx); !errors.Is(cause, revoke.ErrRevoked) && (i%2 == 1 || cause != context.Canceled) {
					t.Errorf("cause %v", cause)
				}
				stop()
			}
		})
	}
	wg.Wait()
	if young, live, keys := auth.Verifier.Watching(); young+live+keys != 0 || auth.List.Stats(revoke.Now()).Watches != 0 {
		t.Errorf("%d, %d, %d are left, and %d on the denylist", young, live, keys, auth.List.Stats(revoke.Now()).Watches)
	}
}
