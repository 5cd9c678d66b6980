package revoketest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A history holds what was acknowledged, and judges what replicas answer.
type history struct {
	events     []acknowledged
	violations []error
}

type acknowledged struct {
	event revoke.Event
	at    time.Duration // A(e), in true time
	seq   uint64
	lost  bool // by the log
}

func (h *history) publish(at time.Duration, seq uint64, e revoke.Event) {
	h.events = append(h.events, acknowledged{event: e, at: at, seq: seq})
}

// lost takes note that the log holds nothing after seq any more.
func (h *history) lost(seq uint64) {
	for i := range h.events {
		if h.events[i].seq > seq {
			h.events[i].lost = true
		}
	}
}

// check holds one answer against invariants 1 (bounded), 3 (nothing forgotten) and
// 2 and 5 (no refusal without an event that revokes).
func (h *history) check(m *Member, s revoke.Status, id revoke.Identity, p revoke.Policy, err error) {
	t := m.bus.elapsed()
	refused := errors.Is(err, revoke.ErrRevoked)
	who := slices.Index(m.bus.members, m)
	bad := func(format string, args ...any) {
		if len(h.violations) < 16 {
			h.violations = append(h.violations, fmt.Errorf("at %s, member %d, %s, age %s: %s", t, who, s.State, s.Age, fmt.Sprintf(format, args...)))
		}
	}
	matches, last := 0, 0
	for i := range h.events {
		a := &h.events[i]
		if !Revokes(a.event, id) {
			continue
		}
		matches++
		last = i
		if refused || m.bus.Now().After(a.event.Until) {
			continue
		}
		switch {
		case m.learned[i]:
			bad("event %d, refused by before, is forgotten", i)
		case a.lost:
		case s.Age >= 0 && t-s.Age > a.at: // what happens at one instant has no order
			bad("event %d, acknowledged at %s, is missed though the replica is proven up to %s", i, a.at, t-s.Age)
		case p.IsDeny() && err == nil && t-a.at > m.list.Config().MaxStaleness:
			bad("event %d, acknowledged %s ago, is neither refused nor unknown", i, t-a.at)
		}
	}
	switch {
	case refused && matches == 0:
		bad("a token is refused that no event revokes")
	case refused && matches == 1: // by that one, then
		m.learned[last] = true
	}
}

// Revokes reports whether e, alone, revokes the token id: what the denylist must
// answer, worked out in the plainest way.
func Revokes(e revoke.Event, id revoke.Identity) bool {
	if e.Issuer != id.Issuer {
		return false
	}
	var value string
	switch e.Kind {
	case revoke.KindToken:
		value = id.Token
	case revoke.KindSession:
		value = id.Session
	case revoke.KindSubject:
		value = id.Subject
	case revoke.KindClient:
		value = id.Client
	case revoke.KindTenant:
		value = id.Tenant
	case revoke.KindKey:
		value = id.Key
	}
	if value != e.Value || value == "" && e.Kind != revoke.KindIssuer {
		return false
	}
	if !e.Kind.Cutoff() {
		return true
	}
	at := id.IssuedAt
	if !id.MintedAt.IsZero() {
		at = id.MintedAt
	}
	return at.UnixMilli() <= e.Before.UnixMilli() && !(id.Session != "" && slices.Contains(e.Keep, id.Session))
}
