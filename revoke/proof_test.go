package revoke

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// What a replica says of itself follows from what was proven and when: what withholds freshness
// does so whatever the age, and age alone once it is more than MaxStaleness.
func TestProofStates(t *testing.T) {
	l, err := NewList(Config{MaxStaleness: 15 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	now := Now()
	age := func(d time.Duration) Instant { return now.Add(-d) }
	// By which clock a critical event is waited out; one past it is over.
	due := l.criticalAt(now)
	for name, c := range map[string]struct {
		proof  proof
		state  State
		reason Reason
		age    time.Duration
	}{
		"nothing yet":                    {proof{}, StateSyncing, ReasonNone, -1},
		"nothing yet, and why":           {proof{reason: ReasonConnecting}, StateSyncing, ReasonConnecting, -1},
		"nothing yet, and withheld":      {proof{reason: ReasonConnecting, block: ReasonBadStream}, StateSyncing, ReasonBadStream, -1},
		"now":                            {proof{proven: now}, StateFresh, ReasonNone, 0},
		"in the future":                  {proof{proven: age(-time.Second)}, StateFresh, ReasonNone, 0},
		"fresh, as trouble begins":       {proof{proven: age(time.Second), reason: ReasonDisconnected}, StateFresh, ReasonNone, time.Second},
		"at MaxStaleness":                {proof{proven: age(15 * time.Second)}, StateFresh, ReasonNone, 15 * time.Second},
		"beyond it":                      {proof{proven: age(15*time.Second + 1)}, StateStale, ReasonNoHeartbeat, 15*time.Second + 1},
		"beyond it, and why":             {proof{proven: age(time.Minute), reason: ReasonDisconnected}, StateStale, ReasonDisconnected, time.Minute},
		"withheld":                       {proof{proven: now, block: ReasonFork}, StateStale, ReasonFork, 0},
		"withheld, and old":              {proof{proven: age(time.Minute), block: ReasonFork, reason: ReasonDisconnected}, StateStale, ReasonFork, time.Minute},
		"a critical event":               {proof{proven: now, critical: due + 1}, StateStale, ReasonCritical, 0},
		"a critical event that was long": {proof{proven: now, critical: due}, StateFresh, ReasonNone, 0},
		"a critical event, and withheld": {proof{proven: now, critical: due + 1, block: ReasonFork}, StateStale, ReasonFork, 0},
		"a critical event, and old":      {proof{proven: age(time.Minute), critical: due + 1}, StateStale, ReasonCritical, time.Minute},
	} {
		s, r, a := c.proof.state(l, now)
		if s != c.state || r != c.reason || a != c.age {
			t.Errorf("%s: %s (%s), %s; want %s (%s), %s", name, s, r, a, c.state, c.reason, c.age)
		}
		err := c.proof.judge(l, now, now.Time(), Deny())
		var stale *StaleError
		switch {
		case s == StateFresh && err == nil:
		case s == StateFresh || !errors.As(err, &stale) || stale.State != s || stale.Reason != r || stale.Age != a:
			t.Errorf("%s: a check answers %v", name, err)
		case strings.Contains(err.Error(), "ago") == (a < 0), !strings.Contains(err.Error(), s.String()+" ("+r.String()+")"):
			t.Errorf("%s: a check says %q", name, err)
		}
		// Age can be waived, and nothing else.
		err = c.proof.judge(l, now, now.Time(), MaxStaleness(2*time.Minute))
		if waived := a > 15*time.Second && c.proof.block == ReasonNone && r != ReasonCritical; (err == nil) != (s == StateFresh || waived) {
			t.Errorf("%s: with more patience a check answers %v", name, err)
		}
	}
	if due <= now.Time().Add(-time.Hour).UnixMilli() || due > now.Time().Add(time.Hour).UnixMilli() {
		t.Errorf("a critical event of %s ago is over", now.Time().Sub(time.UnixMilli(due)))
	}
}

// Every state, reason, policy and kind has a name of its own, and what is none says so.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	name := func(what, s string) {
		t.Helper()
		if s == "" || seen[what+s] {
			t.Errorf("%s %q: empty, or the name of another", what, s)
		}
		seen[what+s] = true
	}
	for s := range StateStale + 2 {
		name("state", s.String())
	}
	for r := range Reason(len(reasonNames) + 1) {
		name("reason", r.String())
	}
	for f := range Fault(faults + 2) {
		name("fault", f.String())
	}
	for k := range KindIssuer + 2 {
		name("kind", k.String())
	}
	for want, p := range map[string]Policy{"Deny": Deny(), "MaxStaleness(1m0s)": MaxStaleness(time.Minute), "AllowYounger(30s)": AllowYounger(30 * time.Second), "InsecureAllow": InsecureAllow()} {
		if p.String() != want || p.IsDeny() != (want == "Deny") {
			t.Errorf("%s prints as %s; deny: %t", want, p, p.IsDeny())
		}
	}
	if (StateStale+1).String() != "invalid" || Reason(len(reasonNames)).String() != "unknown" {
		t.Error("what is none has a name")
	}
}

// A List that NewList did not make says so by zero, and one that is Local, or fed, takes no feed.
func TestListsThatTakeNoFeed(t *testing.T) {
	if l := new(List); l.Config() != (Config{}) || l.Retention() != (Retention{}) {
		t.Errorf("%+v, %+v", l.Config(), l.Retention())
	}
	local, err := NewList(Config{Local: true, TokenLifetime: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if h := local.Retention(); h.TokenLifetime != 2*time.Hour || h.SessionLifetime != local.Config().SessionLifetime {
		t.Errorf("%+v", h)
	}
	if _, err := (hands{}).Follow(local); !errors.Is(err, ErrFollowed) {
		t.Errorf("a Local List is followed: %v", err)
	}
	if !local.Ready(Deny()) {
		t.Error("a Local List is not ready")
	}
	fed, err := NewList(Config{})
	if err != nil {
		t.Fatal(err)
	}
	generation, err := (hands{}).Follow(fed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (hands{}).Follow(fed); !errors.Is(err, ErrFollowed) {
		t.Errorf("followed twice: %v", err)
	}
	(hands{}).Leave(fed, generation+1)
	if again, err := (hands{}).Follow(fed); err != nil || again != generation+1 {
		t.Errorf("followed again: %d, %v; it was %d", again, err, generation)
	}
}
