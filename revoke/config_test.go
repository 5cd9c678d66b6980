package revoke_test

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestNewListRefuses(t *testing.T) {
	for field, cfg := range map[string]revoke.Config{
		"Config.MaxStaleness is 4":      {MaxStaleness: 4 * time.Second},
		"Config.MaxStaleness is neg":    {MaxStaleness: -1},
		"Config.HeartbeatInterval":      {HeartbeatInterval: -1},
		"Config.MaxSkew is":             {MaxSkew: -1},
		"MaxSkew exceeds an hour":       {MaxSkew: math.MaxInt64, MaxStaleness: time.Minute},
		"HeartbeatInterval or":          {HeartbeatInterval: math.MaxInt64 / 2, MaxStaleness: time.Minute},
		"Config.TokenLifetime is":       {TokenLifetime: -1},
		"Config.TokenLifetime 900ns":    {TokenLifetime: 900},
		"Config.HeartbeatInterval 1ns":  {HeartbeatInterval: 1},
		"MaxSkew 1.5ms is not in whole": {MaxSkew: 1500 * time.Microsecond},
		"MaxSkew 2m0.001s exceeds 2m0s": {MaxSkew: revoke.MaxSkewLimit + time.Millisecond, MaxStaleness: time.Hour},
		"Config.MaxSkew 2ns":            {MaxSkew: 2},
		"Config.SessionLifetime 90ns":   {SessionLifetime: 90},
		"Config.SessionLifetime":        {SessionLifetime: -1},
		"Config.FalsePositiveRate 2":    {FalsePositiveRate: 2},
		"Config.FalsePositiveRate NaN":  {FalsePositiveRate: math.NaN()},
		"Config.FalsePositiveRate -0.1": {FalsePositiveRate: -0.1},
		"Config.MaxStaleness is 10000h": {MaxStaleness: 10_000 * time.Hour},
		"Config.MaxStaleness is 1h0m1s": {MaxStaleness: time.Hour + time.Second},
		"Config.MaxStaleness is 2m0s":   {MaxStaleness: 2 * time.Minute, TokenLifetime: time.Minute},
		"exceeds ten years":             {TokenLifetime: 20 * 365 * 24 * time.Hour},
	} {
		if _, err := revoke.NewList(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: error %v does not name %s", cfg, err, field)
		}
	}
	l, err := revoke.NewList(revoke.Config{MaxStaleness: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if c := l.Config(); c.TokenLifetime != time.Hour || c.SessionLifetime != 90*24*time.Hour || c.MaxSkew != 2*time.Second || c.HeartbeatInterval != time.Second {
		t.Errorf("defaults %+v", c)
	}
}

func TestPolicies(t *testing.T) {
	now := revoke.Now()
	for _, c := range []struct {
		policy revoke.Policy
		age    time.Duration // of the replica; negative: never fresh
		issued time.Duration // ago
		accept bool
	}{
		{revoke.Deny(), 14 * time.Second, time.Minute, true},
		{revoke.Deny(), 16 * time.Second, time.Minute, false},
		{revoke.Deny(), -1, time.Minute, false},
		{revoke.Policy{}, 16 * time.Second, time.Minute, false},
		{revoke.MaxStaleness(time.Minute), 59 * time.Second, time.Minute, true},
		{revoke.MaxStaleness(time.Minute), 61 * time.Second, time.Minute, false},
		{revoke.MaxStaleness(time.Second), 14 * time.Second, time.Minute, true},
		{revoke.MaxStaleness(time.Hour), -1, time.Minute, false},
		{revoke.MaxStaleness(time.Hour), 59 * time.Minute, time.Minute, true},
		{revoke.MaxStaleness(10_000 * time.Hour), time.Minute, time.Minute, false}, // which ValidatePolicy refuses
		{revoke.AllowYounger(time.Minute), 14 * time.Second, time.Hour, true},
		{revoke.AllowYounger(time.Minute), time.Hour, 59 * time.Second, true},
		{revoke.AllowYounger(time.Minute), time.Hour, 61 * time.Second, false},
		{revoke.AllowYounger(time.Minute), -1, 59 * time.Second, true},
		{revoke.AllowYounger(time.Minute), time.Hour, -time.Second, true},
		{revoke.AllowYounger(time.Minute), time.Hour, -time.Hour, false},
		{revoke.AllowYounger(2 * time.Hour), time.Hour, time.Second, false},
		{revoke.InsecureAllow(), -1, time.Hour, true},
		{revoke.InsecureAllow(), time.Hour, time.Hour, true},
	} {
		r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
		r.Now = now
		if c.age >= 0 {
			l.Revoke(now.Time(), "known")
			r.Begin(l)
			r.Beat(l)
			r.Must(r.Read(l))
			r.Pass(c.age)
		}
		id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: r.Now.Time().Add(-c.issued)}
		err := r.List.Check(r.Now, &id, c.policy)
		if (err == nil) != c.accept || err != nil && !errors.Is(err, revoke.ErrStale) {
			t.Errorf("%s, replica %s old, token %s old: %v", c.policy, c.age, c.issued, err)
		}
		if c.age >= 0 && !r.Refuses("known") {
			t.Errorf("%s: a known revocation passes", c.policy)
		}
	}
}

func TestValidatePolicy(t *testing.T) {
	l := localList(t)
	for _, p := range []revoke.Policy{
		revoke.MaxStaleness(0), revoke.MaxStaleness(-time.Hour), revoke.MaxStaleness(time.Second), revoke.MaxStaleness(15 * time.Second), revoke.MaxStaleness(61 * time.Minute),
		revoke.MaxStaleness(10_000 * time.Hour), revoke.MaxStaleness(math.MaxInt64), revoke.AllowYounger(0), revoke.AllowYounger(math.MaxInt64), revoke.AllowYounger(-1), revoke.AllowYounger(time.Hour), revoke.AllowYounger(2 * time.Hour),
	} {
		if l.ValidatePolicy(p) == nil {
			t.Errorf("%s is taken", p)
		}
	}
	for _, p := range []revoke.Policy{{}, revoke.Deny(), revoke.InsecureAllow(), revoke.MaxStaleness(16 * time.Second), revoke.MaxStaleness(time.Minute), revoke.MaxStaleness(time.Hour), revoke.AllowYounger(time.Minute)} {
		if err := l.ValidatePolicy(p); err != nil {
			t.Error(err)
		}
	}
}

func TestErrorsFitTheirFamilies(t *testing.T) {
	var revoked, stale error = &revoke.RevokedError{Kind: revoke.KindSession}, &revoke.StaleError{State: revoke.StateStale, Reason: revoke.ReasonRetention, Age: time.Second}
	if !errors.Is(revoked, revoke.ErrRevoked) || errors.Is(revoked, revoke.ErrUnavailable) {
		t.Error("RevokedError")
	}
	if !errors.Is(stale, revoke.ErrStale) || !errors.Is(stale, revoke.ErrUnavailable) || errors.Is(stale, revoke.ErrRevoked) {
		t.Error("StaleError")
	}
	if !errors.Is(revoke.ErrStale, revoke.ErrUnavailable) {
		t.Error("ErrStale is not of the family ErrUnavailable")
	}
}

// TestWeakSettingsAreLogged: the log tells of each setting that weakens,
// and of nothing on a normal day.
func TestWeakSettingsAreLogged(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   revoke.Config
		lines []string
	}{
		"zero":                  {revoke.Config{}, nil},
		"long-lived":            {revoke.Config{TokenLifetime: 24 * time.Hour, SessionLifetime: 24 * time.Hour, MaxStaleness: time.Minute, FalsePositiveRate: 0.1}, nil},
		"no token lives longer": {revoke.Config{TokenLifetime: time.Second}, nil},
		"Local":                 {revoke.Config{Local: true}, []string{"Local"}},
		"MaxStaleness":          {revoke.Config{MaxStaleness: 30 * time.Minute}, []string{"MaxStaleness=30m0s"}},
		"MaxSkew":               {revoke.Config{MaxSkew: 2 * time.Minute, MaxStaleness: 3 * time.Minute}, []string{"MaxStaleness=3m0s", "MaxSkew=2m0s"}},
	} {
		var logged bytes.Buffer
		c.cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		if _, err := revoke.NewList(c.cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := strings.Count(logged.String(), "level=WARN"); n != len(c.lines) || strings.Count(logged.String(), "\n") != n {
			t.Errorf("%s: %d warnings:\n%s", name, n, &logged)
		}
		for _, line := range c.lines {
			if !strings.Contains(logged.String(), line) {
				t.Errorf("%s: no %q in\n%s", name, line, &logged)
			}
		}
	}
}

// MaxStaleness is at most a TokenLifetime, the default, or twice what ordinary delays need, of these
// the longest.
func TestMaxStalenessIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  revoke.Config
		most time.Duration
	}{
		"a TokenLifetime":      {revoke.Config{TokenLifetime: time.Hour}, time.Hour},
		"the default":          {revoke.Config{TokenLifetime: time.Second}, revoke.DefaultMaxStaleness},
		"what delays need":     {revoke.Config{TokenLifetime: time.Second, HeartbeatInterval: 10 * time.Second}, 2 * 32 * time.Second},
		"delays of long skews": {revoke.Config{TokenLifetime: time.Second, MaxSkew: time.Minute}, 2 * 63 * time.Second},
	} {
		for over, good := range map[time.Duration]bool{0: true, time.Nanosecond: false} {
			cfg := c.cfg
			cfg.MaxStaleness = c.most + over
			if _, err := revoke.NewList(cfg); (err == nil) != good {
				t.Errorf("%s, %s over: %v", name, over, err)
			}
		}
	}
}
