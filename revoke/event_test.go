package revoke_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

func TestValidateNamesWhatIsWrong(t *testing.T) {
	good := revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: "u", Before: time.Now(), Keep: []string{"s"}, Until: time.Now(), At: time.Now(), Reason: "logout", Actor: "admin"}
	if err := good.Validate(); err != nil {
		t.Fatalf("the good twin: %v", err)
	}
	long := strings.Repeat("x", revoke.MaxValueBytes+1)
	for want, spoil := range map[string]func(*revoke.Event){
		"kind is missing":        func(e *revoke.Event) { e.Kind = 0 },
		"unknown kind 8":         func(e *revoke.Event) { e.Kind = 8 },
		"issuer is empty":        func(e *revoke.Event) { e.Issuer = "" },
		"issuer has 513 bytes":   func(e *revoke.Event) { e.Issuer = long },
		"value is empty":         func(e *revoke.Event) { e.Value = "" },
		"needs a sid":            func(e *revoke.Event) { *e = revoke.Event{Issuer: e.Issuer, Kind: revoke.KindSession} },
		"value has 513 bytes":    func(e *revoke.Event) { e.Value = long },
		"value is not valid":     func(e *revoke.Event) { e.Value = "\xff" },
		"takes no value":         func(e *revoke.Event) { e.Kind, e.Keep = revoke.KindIssuer, nil },
		"thumbprint":             func(e *revoke.Event) { e.Kind, e.Keep, e.Before = revoke.KindKey, nil, time.Time{} },
		"keep is only for":       func(e *revoke.Event) { e.Kind = revoke.KindClient },
		"keep names 65 sessions": func(e *revoke.Event) { e.Keep = make([]string, 65) },
		"keep is empty":          func(e *revoke.Event) { e.Keep = []string{""} },
		"before is not for":      func(e *revoke.Event) { e.Kind, e.Keep = revoke.KindToken, nil },
		"before 1970":            func(e *revoke.Event) { e.Before = time.UnixMilli(1_800_000_000) },
		"until 1970":             func(e *revoke.Event) { e.Until = time.UnixMilli(1_800_000_000) },
		"at 1970":                func(e *revoke.Event) { e.At = time.UnixMilli(1_800_000_000) },
		"id has 257 bytes":       func(e *revoke.Event) { e.ID = long[:257] },
		"reason has 257 bytes":   func(e *revoke.Event) { e.Reason = long[:257] },
		"actor has 257 bytes":    func(e *revoke.Event) { e.Actor = long[:257] },
	} {
		e := good
		spoil(&e)
		if err := e.Validate(); !errors.Is(err, revoke.ErrInvalidEvent) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	for _, bad := range []string{"", thumbprint[:42], thumbprint + "A", thumbprint[:42] + "=", thumbprint[:42] + "\n", thumbprint[:42] + "t", strings.Replace(thumbprint, "-", "+", 1)} {
		e := revoke.Event{Issuer: iss, Kind: revoke.KindKey, Value: bad}
		if e.Validate() == nil {
			t.Errorf("thumbprint %q is taken", bad)
		}
	}
	e := revoke.Event{Issuer: iss, Kind: revoke.KindKey, Value: thumbprint}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
}

func TestComplete(t *testing.T) {
	now := time.Now()
	h := revoke.DefaultRetention()
	for _, c := range []struct {
		e             revoke.Event
		before, until time.Duration
	}{
		{revoke.Event{Kind: revoke.KindToken, Value: "x"}, -1, time.Hour},
		{revoke.Event{Kind: revoke.KindToken, Value: "x", Until: now.Add(time.Minute)}, -1, time.Minute},
		{revoke.Event{Kind: revoke.KindToken, Value: "x", Until: now.Add(-time.Minute)}, -1, -time.Minute},
		{revoke.Event{Kind: revoke.KindSession, Value: "x"}, -1, 90 * 24 * time.Hour},
		{revoke.Event{Kind: revoke.KindSubject, Value: "x"}, 4 * time.Second, 90*24*time.Hour + 4*time.Second},
		{revoke.Event{Kind: revoke.KindIssuer, Before: now.Add(-time.Hour)}, -time.Hour, 90 * 24 * time.Hour},
		{revoke.Event{Kind: revoke.KindKey, Value: thumbprint}, -1, 365 * 24 * time.Hour},
		{revoke.Event{Kind: revoke.KindKey, Value: thumbprint, Until: now.Add(time.Minute)}, -1, time.Minute},
		// As long as tokens may live, from when the event was asked for, from its first
		// publication, or from a cutoff that lies back: nothing later is concerned.
		{revoke.Event{Kind: revoke.KindSession, Value: "x", Until: now.Add(time.Hour)}, -1, time.Hour},
		{revoke.Event{Kind: revoke.KindSession, Value: "x", Until: now.Add(59*time.Minute + time.Second)}, -1, 59*time.Minute + time.Second},
		{revoke.Event{Kind: revoke.KindSession, Value: "x", Until: now.Add(30 * time.Minute), At: now.Add(-30 * time.Minute)}, -1, 30 * time.Minute},
		{revoke.Event{Kind: revoke.KindSubject, Value: "x", Until: now.Add(time.Hour)}, 4 * time.Second, time.Hour},
		{revoke.Event{Kind: revoke.KindSubject, Value: "x", Before: now.Add(-30 * time.Minute), Until: now.Add(30 * time.Minute)}, -30 * time.Minute, 30 * time.Minute},
	} {
		c.e.Issuer = iss
		got, err := c.e.Complete(now, h)
		if err != nil {
			t.Fatal(err)
		}
		within := func(a, b time.Time) bool { d := a.Sub(b); return d >= 0 && d <= time.Millisecond }
		if !got.At.Equal(now) || !within(got.Until, now.Add(c.until)) || c.before != -1 && !within(got.Before, now.Add(c.before)) || c.before == -1 && !got.Before.IsZero() {
			t.Errorf("%s: %+v", c.e.Kind, got)
		}
	}
	for want, e := range map[string]revoke.Event{
		"before lies 1h0m0s ahead":   {Kind: revoke.KindSubject, Value: "x", Before: now.Add(time.Hour)},
		"until lies 2208h0m0s ahead": {Kind: revoke.KindSession, Value: "x", Until: now.Add(92 * 24 * time.Hour)},
		"until lies 1m0s back":       {Kind: revoke.KindSession, Value: "x", Until: now.Add(-time.Minute)},
		"ahead, more than 87672h":    {Kind: revoke.KindKey, Value: thumbprint, Until: now.Add(11 * 365 * 24 * time.Hour)},
	} {
		e.Issuer = iss
		if _, err := e.Complete(now, h); !errors.Is(err, revoke.ErrInvalidEvent) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}

// An event is not taken that the tokens which it is to revoke outlive.
func TestCompleteRefusesShortLives(t *testing.T) {
	now := time.Now()
	for _, h := range []revoke.Retention{revoke.DefaultRetention(), {TokenLifetime: 5 * time.Minute, SessionLifetime: time.Hour}, {TokenLifetime: 24 * time.Hour, SessionLifetime: time.Hour}} {
		for _, k := range []revoke.Kind{revoke.KindSession, revoke.KindSubject, revoke.KindClient, revoke.KindTenant, revoke.KindIssuer} {
			for _, short := range []time.Duration{0, time.Second, h.TokenLifetime / 2, h.TokenLifetime*3/4 - time.Second} {
				for name, shape := range map[string]func(e *revoke.Event){
					"plain":      func(e *revoke.Event) { e.Until = now.Add(short) },
					"at to come": func(e *revoke.Event) { e.Until, e.At = now.Add(short), now.Add(24*time.Hour) },
					"cutoff now": func(e *revoke.Event) { e.Until, e.Before = now.Add(short), now },
					"cutoff back": func(e *revoke.Event) {
						e.Until, e.Before = now.Add(short), now.Add(short-h.TokenLifetime*3/4+time.Second)
					},
					"published": func(e *revoke.Event) { e.Until, e.At = now.Add(short), now.Add(short-h.TokenLifetime*3/4+time.Second) },
				} {
					e := revoke.Event{Issuer: iss, Kind: k, Value: "x"}
					if k == revoke.KindIssuer {
						e.Value = ""
					}
					if shape(&e); !k.Cutoff() {
						e.Before = time.Time{}
					}
					l, err := revoke.NewList(revoke.Config{Local: true, TokenLifetime: h.TokenLifetime, SessionLifetime: h.SessionLifetime})
					if err != nil {
						t.Fatal(err)
					}
					_, completed := e.Complete(now, h)
					for way, err := range map[string]error{"Complete": completed, "Apply": l.Apply(revoke.At(now), e)} {
						if !errors.Is(err, revoke.ErrInvalidEvent) || !strings.Contains(err.Error(), "until lies") || !strings.Contains(err.Error(), h.TokenLifetime.String()) {
							t.Errorf("%s, %s, %s, until %s ahead where tokens live for %s: %v", way, k, name, short, h.TokenLifetime, err)
						}
					}
				}
			}
			e := revoke.Event{Issuer: iss, Kind: k, Value: "x"}
			if k == revoke.KindIssuer {
				e.Value = ""
			}
			if got, err := e.Complete(now, h); err != nil || got.Until.Before(now.Add(h.TokenLifetime)) {
				t.Errorf("%s that names no until lives until %s: %v", k, got.Until.Sub(now), err)
			}
		}
	}
}

func TestTokenOf(t *testing.T) {
	exp := time.Now().Add(time.Minute)
	e, err := revoke.TokenOf(revoke.Identity{Issuer: iss, Token: "j", Session: "s", ExpiresAt: exp})
	if err != nil || e.Kind != revoke.KindToken || e.Value != "j" || e.Issuer != iss || !e.Until.Equal(exp) {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := revoke.TokenOf(revoke.Identity{Issuer: iss}); !errors.Is(err, revoke.ErrInvalidEvent) {
		t.Errorf("a token without jti: %v", err)
	}
}

func TestKindNames(t *testing.T) {
	for k := revoke.KindToken; k <= revoke.KindIssuer; k++ {
		if got, ok := replica.ParseKind(k.String()); !ok || got != k {
			t.Errorf("ParseKind(%q) = %v, %v", k, got, ok)
		}
	}
	for _, s := range []string{"", "Token", "jti", "Kind(0)"} {
		if k, ok := replica.ParseKind(s); ok {
			t.Errorf("ParseKind(%q) = %v", s, k)
		}
	}
}
