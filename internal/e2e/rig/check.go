package rig

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Applied returns the replicas that have applied the event, by name.
func Applied(r rollcall.Receipt) map[string]rollcall.Replica {
	m := map[string]rollcall.Replica{}
	for _, rep := range r.Replicas {
		if rep.Applied {
			m[rep.Name] = rep
		}
	}
	return m
}

// TokenEvent revokes one token.
func TokenEvent(value string) revoke.Event { return revoke.Event{Kind: revoke.KindToken, Value: value} }

// RevokeSession publishes a session event with a publisher of its own, which knows
// nothing of what others published, and returns the token of that session.
func RevokeSession(t *testing.T, url, sid string) revoke.Identity {
	t.Helper()
	b := Join(t, Dial(t, url), bus.Config{}, nil)
	defer b.Close()
	Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: sid})
	return Session(sid)
}

// Session is a token of that session.
func Session(sid string) revoke.Identity {
	return revoke.Identity{Issuer: Issuer, Session: sid, Subject: "user", Token: "jti-" + sid, IssuedAt: time.Now()}
}

// Check checks a token under Deny.
func Check(l *revoke.List, id revoke.Identity) error {
	return l.Check(revoke.Now(), &id, revoke.Deny())
}

// Refused reports whether the token counts as revoked.
func Refused(l *revoke.List, id revoke.Identity) bool {
	return errors.Is(Check(l, id), revoke.ErrRevoked)
}

// MustRefuse fails the test unless each of the tokens counts as revoked.
func MustRefuse(t *testing.T, l *revoke.List, ids ...revoke.Identity) {
	t.Helper()
	for _, id := range ids {
		if err := Check(l, id); !errors.Is(err, revoke.ErrRevoked) {
			t.Fatalf("session %s: got %v, want it revoked", id.Session, err)
		}
	}
}

// MustPass asks again while the replica is stale: a barrier proves the instant at which it
// began, which an election and a busy machine may have left further behind than MaxStaleness.
func MustPass(t *testing.T, l *revoke.List, ids ...revoke.Identity) {
	t.Helper()
	for _, id := range ids {
		AskUntil(t, "session "+id.Session+" passes", func(context.Context) error {
			err := Check(l, id)
			if err != nil && !errors.Is(err, revoke.ErrStale) {
				t.Fatalf("session %s: %v", id.Session, err)
			}
			return err
		})
	}
}
