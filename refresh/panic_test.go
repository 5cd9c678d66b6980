package refresh

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A part of the caller's that panics in a goroutine of the Manager's, where nobody could
// recover it, would end the process.
type panicking struct {
	Store
	load, save bool
}

func (p *panicking) Load(ctx context.Context, key string) (Record, error) {
	if p.load {
		panic("a secret")
	}
	return p.Store.Load(ctx, key)
}

func (p *panicking) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if p.save {
		panic("a secret")
	}
	return p.Store.Save(ctx, key, value, revision, expires)
}

type panickingPublisher struct{ on bool }

func (p *panickingPublisher) Publish(_ context.Context, e revoke.Event) (revoke.Receipt, error) {
	if p.on {
		panic("a secret")
	}
	return revoke.Receipt{Event: e}, nil
}

func TestPanicsOfTheCallersParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store, publisher := &panicking{Store: NewMemoryStore()}, new(panickingPublisher)
		issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: simRing(t)})
		if err != nil {
			t.Fatal(err)
		}
		known, err := revoke.NewList(revoke.Config{Local: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := newManager(Config{
			Issuer: issuer, Store: store, Publisher: publisher, Revocations: known, Lifetimes: Web,
			Logger:   slog.New(slog.NewTextHandler(&log, nil)),
			OnReplay: func(context.Context, Session) { panic("a secret") },
		})
		if err != nil {
			t.Fatal(err)
		}
		m.mint = func(_ context.Context, r issue.Request) (minted, error) {
			return minted{"token", r.IssuedAt.Add(r.Lifetime)}, nil // the Issuer's clock is this machine's
		}
		g := m.mustLogin(t)
		stolen := Request{Token: g.RefreshToken(), Client: "web"}
		if _, err := m.Refresh(t.Context(), stolen); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)

		store.load = true
		if _, err := m.Refresh(t.Context(), stolen); !errors.Is(err, ErrStore) {
			t.Errorf("a store that panics while it loads: %v", err)
		}
		if err := m.Logout(t.Context(), g.SessionID); !errors.Is(err, ErrTryAgain) {
			t.Errorf("a logout: %v", err)
		}
		if _, err := m.LogoutAll(t.Context(), "user-1"); !errors.Is(err, ErrPending) {
			t.Errorf("a logout everywhere: %v", err)
		}
		m.finishPending(inBackground(t.Context()))
		m.eraseSeals(t.Context(), g.SessionID)
		store.load, store.save = false, true
		if _, err := m.Refresh(t.Context(), stolen); !errors.Is(err, ErrStore) {
			t.Errorf("a store that panics while it saves: %v", err)
		}
		store.save = false
		time.Sleep(time.Hour / 2)

		publisher.on = true
		other := m.mustLogin(t)
		if err := m.Logout(t.Context(), other.SessionID); !errors.Is(err, ErrPending) {
			t.Errorf("a publisher that panics: %v", err)
		}
		// The theft is found while the bus is down, and told by a goroutine of the Manager's.
		third := m.mustLogin(t)
		stolen.Token = third.RefreshToken()
		if _, err := m.Refresh(t.Context(), stolen); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		if _, err := m.Refresh(t.Context(), stolen); !errors.Is(err, ErrReused) || !errors.Is(err, ErrPending) {
			t.Fatalf("a theft: %v", err)
		}
		publisher.on = false
		m.finishPending(inBackground(t.Context()))
		if r, err := m.loadSession(t.Context(), third.SessionID); err != nil || r.Pending {
			t.Errorf("pending is what the hook's panic has kept from being noted: %v, %v", r.Pending, err)
		}
		if out := log.String(); strings.Contains(out, "a secret") || !strings.Contains(out, "OnReplay panicked") {
			t.Errorf("log: %s", out)
		}
	})
}
