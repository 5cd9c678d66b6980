package revoke_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestPreparedAtTwoTimes holds invariant 3 where two check one token at the same time, and one
// of them by a clock on which what revokes it has expired: what that one remembers is not good
// for the other.
func TestPreparedAtTwoTimes(t *testing.T) {
	const perList = 400 // few enough that nothing is folded, and so nothing forgotten
	for range 50 {
		l, start := localList(t), time.UnixMilli(1_800_000_000_000)
		var (
			prepared       [perList]*revoke.Prepared
			early, late    [perList]revoke.Instant
			there          [perList]atomic.Int32
			wrongly, ended = make([]int, 0), make(chan struct{})
		)
		for i := range perList {
			at := start.Add(time.Duration(i) * time.Hour)
			until := at.Add(10 * time.Minute)
			id := revoke.Identity{Issuer: "https://issuer.example", Token: fmt.Sprint("token-", i), Session: fmt.Sprint("session-", i), IssuedAt: at.Add(-time.Minute), ExpiresAt: until}
			if err := l.Apply(revoke.At(at), revoke.Event{Kind: revoke.KindToken, Issuer: id.Issuer, Value: id.Token, Until: until}); err != nil {
				t.Fatal(err)
			}
			prepared[i], early[i], late[i] = l.Prepare(&id), revoke.At(at), revoke.At(at.Add(40*time.Minute))
		}
		meet := func(i, waste int) {
			there[i].Add(1)
			for n := 0; there[i].Load() < 2; n++ {
				if n > 1000 {
					runtime.Gosched()
				}
			}
			for range waste { // so that neither is always ahead
				there[i].Load()
			}
		}
		go func() {
			defer close(ended)
			for i := range perList {
				meet(i, i*7%40)
				prepared[i].Check(late[i], revoke.Deny())
			}
		}()
		for i := range perList {
			meet(i, i*13%40)
			if !errors.Is(prepared[i].Check(early[i], revoke.Deny()), revoke.ErrRevoked) {
				wrongly = append(wrongly, i)
			}
		}
		<-ended
		if len(wrongly) > 0 {
			t.Fatalf("%d of %d revoked tokens accepted: %v", len(wrongly), perList, wrongly)
		}
	}
}
