package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// In a bucket that logins have filled until they were refused, every session that there is
// can be refreshed, again within the window of the first time, and logged out, on whatever
// instance.
func TestSessionsGoOnInAFullBucket(t *testing.T) {
	t.Parallel()
	const maxBytes = 1 << 20
	for name, login := range map[string]func(i int) refresh.Login{
		"small": func(i int) refresh.Login { return refresh.Login{Subject: fmt.Sprint(i), Client: "w"} },
		"usual": func(i int) refresh.Login {
			return refresh.Login{
				Subject: fmt.Sprintf("01936f5e-8b7a-7c3d-9e4f-%012d", i), Client: "web-frontend", Scope: []string{"openid", "profile", "orders:read", "orders:write"},
				AMR: []string{"pwd", "otp"}, Device: refresh.Device{Label: "Firefox 140 on Debian GNU/Linux", Address: "2001:db8:85a3::8a2e:370:7334"},
				Claims: map[string]any{"roles": []string{"customer", "editor"}, "name": "Ada Lovelace"},
			}
		},
		"few users": func(i int) refresh.Login { return refresh.Login{Subject: fmt.Sprint(i % 8), Client: "w"} },
		"large": func(i int) refresh.Login {
			return refresh.Login{Subject: fmt.Sprint(i), Client: "w", Claims: map[string]any{"x": strings.Repeat("x", 4000)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false }) // not about its disk
			nc := rig.StoreConnection(t, br.URL())
			rig.CreateBucket(t, nc, natskv.BucketConfig{MaxBytes: maxBytes})
			_, js := rig.Client(t, br.URL())
			ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: tokens.EdDSA})
			if err != nil {
				t.Fatal(err)
			}
			iss, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring})
			if err != nil {
				t.Fatal(err)
			}
			list := rig.NewList(t, revoke.Config{Local: true, MaxSkew: 2 * time.Second})
			lifetimes := refresh.Web
			lifetimes.Grace = time.Minute
			var managers [2]*refresh.Manager
			for i := range managers {
				m, err := refresh.NewManager(refresh.Config{Issuer: iss, Store: rig.OpenStore(t, nc), Revocations: list, Lifetimes: lifetimes, MaxSessions: 1000})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = m.Close() })
				managers[i] = m
			}
			at := func(what string, sessions int) {
				st := rig.StreamNamed(t, js, rig.SessionsStream).CachedInfo().State
				t.Logf("%s: %d sessions, %d records, %d bytes", what, sessions, st.Msgs, st.Bytes)
			}
			var grants []*refresh.Grant
			begun := time.Now()
			for i := 0; ; i++ {
				l := login(i)
				l.Audience, l.AuthTime = []string{"api"}, begun
				g, err := managers[i%2].Login(rig.Within(t), l)
				if errors.Is(err, natskv.ErrFull) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				grants = append(grants, g)
			}
			at("logins refused", len(grants))
			if name == "usual" && maxBytes/len(grants) > 2560+200 { // of so small a bucket an eighth is the keyrings'
				t.Errorf("%d bytes for each session, the documentation says 2.5 KiB", maxBytes/len(grants))
			}
			each := func(what string, do func(ctx context.Context, i int) error) {
				var failed, running atomic.Int32
				var first atomic.Pointer[error]
				var wg sync.WaitGroup
				free := make(chan struct{}, 32)
				for i := range grants {
					free <- struct{}{}
					wg.Go(func() {
						defer func() { <-free }()
						running.Add(1)
						if err := do(rig.Within(t), i); err != nil {
							failed.Add(1)
							first.CompareAndSwap(nil, &err)
						}
					})
				}
				wg.Wait()
				at(what, len(grants))
				if failed.Load() > 0 {
					t.Errorf("%s: %d of %d failed, the first: %v", what, failed.Load(), len(grants), *first.Load())
				}
			}
			for round := range 2 {
				each(fmt.Sprint("refresh ", round), func(ctx context.Context, i int) error {
					g, err := managers[(i+round)%2].Refresh(ctx, refresh.Request{Token: grants[i].RefreshToken(), Client: login(i).Client})
					if err == nil {
						grants[i] = g
					}
					return err
				})
			}
			each("logout", func(ctx context.Context, i int) error {
				return managers[i%2].Revoke(ctx, grants[i].SessionID, "stolen", "help desk")
			})
			if name == "small" {
				return // what is left of its sessions takes as much as they did
			}
			rig.AskUntil(t, "there is room for a login", func(ctx context.Context) error {
				l := login(0)
				l.Audience, l.AuthTime = []string{"api"}, time.Now()
				_, err := managers[0].Login(ctx, l)
				return err
			})
		})
	}
}

// What is full takes nothing that is new or grows, whichever instance asks, and all that
// shrinks: so do sessions that end.
func TestFullBucketTakesWhatShrinks(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false }) // not about its disk
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{MaxBytes: 1 << 20})
	stores := []*natskv.Store{rig.OpenStore(t, nc), rig.OpenStore(t, nc)}
	const records = 100
	var revisions [records]uint64
	value := func(size int) []byte { return []byte(strings.Repeat("x", size)) }
	size := 1000
	key := func(i int) string { return fmt.Sprint("k", i) }
	for i := range revisions {
		revisions[i] = mustSave(t, stores[0], key(i), string(value(size)), 0)
	}
	small := mustSave(t, stores[0], "small", "", 0)
	sizes := [records]int{}
	for full := false; !full; size += 1000 {
		for i := range revisions {
			n, err := stores[i%2].Save(rig.Within(t), key(i), value(size), revisions[i], later())
			if errors.Is(err, natskv.ErrFull) {
				full = true
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			revisions[i], sizes[i] = n, size
		}
	}
	// What is left is too little for one of them once more, and this one fills half of it.
	left := 0
	for n, err := small, error(nil); err == nil; left += 50 {
		if n, err = stores[0].Save(rig.Within(t), "small", value(left), small, later()); err == nil {
			small = n
		}
	}
	_, js := rig.Client(t, br.URL())
	if used := rig.StreamNamed(t, js, rig.SessionsStream).CachedInfo().State.Bytes; used > 1<<20-recordstore.MaxValueBytes || used < 850_000 {
		t.Errorf("%d bytes are used: the keyrings' share, or less than there is", used)
	}
	// Each instance counts for itself, and reads how full the bucket is now and then: what it
	// lets grow after a reading it counts.
	for i, s := range stores {
		for grown := 0; ; grown++ {
			n, err := s.Save(rig.Within(t), key(i), value(sizes[i]+1), revisions[i], later())
			if errors.Is(err, natskv.ErrFull) {
				break
			}
			if err != nil || grown == records {
				t.Fatalf("%d: what grows, after %d times: %v", i, grown, err)
			}
			revisions[i], sizes[i] = n, sizes[i]+1
		}
	}
	for i := range revisions {
		s := stores[i%2]
		if i >= len(stores) {
			if _, err := s.Save(rig.Within(t), key(i), value(sizes[i]+1), revisions[i], later()); err == nil {
				break // there is room again
			}
		}
		revisions[i] = mustSave(t, s, key(i), string(value(sizes[i]-1)), revisions[i])
	}
	if _, err := stores[0].Save(rig.Within(t), key(0), value(10), revisions[0]-1, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("of another revision: %v", err)
	}
}
