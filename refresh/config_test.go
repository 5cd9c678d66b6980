package refresh_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Each exported field of Config and Lifetimes has rows of values that cannot be meant,
// which are refused with its name; or every value of it can. A new field needs either.
func TestConfigFieldsAreLookedAt(t *testing.T) {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	list := func(cfg revoke.Config) *revoke.List {
		l, err := revoke.NewList(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	local := list(revoke.Config{Local: true})
	year := 366 * 24 * time.Hour
	type change = func(*refresh.Config)
	life := func(f func(*refresh.Lifetimes)) change {
		return func(c *refresh.Config) {
			c.Lifetimes = refresh.Web
			f(&c.Lifetimes)
		}
	}
	refused := map[string][]change{
		"Config.Issuer": {func(c *refresh.Config) { c.Issuer = nil }},
		"Config.Store":  {func(c *refresh.Config) { c.Store = nil }},
		"Config.Revocations": {func(c *refresh.Config) { c.Revocations = nil }, func(c *refresh.Config) {
			c.Revocations = list(revoke.Config{Local: true, TokenLifetime: 59 * time.Minute})
		}, func(c *refresh.Config) { c.Revocations = list(revoke.Config{Local: true, MaxSkew: time.Second}) }},
		"Config.Publisher":   {func(c *refresh.Config) { c.Revocations = list(revoke.Config{}) }},
		"Config.MaxSessions": {func(c *refresh.Config) { c.MaxSessions = -1 }, func(c *refresh.Config) { c.MaxSessions = 1001 }},
		"Config.Lifetimes":   {func(c *refresh.Config) { c.Lifetimes.Access = time.Minute }},
		"Lifetimes.Idle": {
			life(func(l *refresh.Lifetimes) { l.Idle = 24*time.Hour + time.Millisecond }), life(func(l *refresh.Lifetimes) { l.Idle = time.Hour + 1 }),
		},
		"Lifetimes.Absolute": {
			life(func(l *refresh.Lifetimes) { l.Absolute = year + time.Millisecond }), life(func(l *refresh.Lifetimes) { l.Absolute += 1 }),
			life(func(l *refresh.Lifetimes) { l.Absolute = 90*24*time.Hour + time.Millisecond }), // more than Revocations remembers
		},
		"Lifetimes.Access": {
			life(func(l *refresh.Lifetimes) { l.Access = 10*time.Second - time.Millisecond }), life(func(l *refresh.Lifetimes) { l.Access += 1 }),
			life(func(l *refresh.Lifetimes) { l.Access = time.Hour + time.Millisecond }), life(func(l *refresh.Lifetimes) { l.Access = -time.Minute }),
		},
		"Lifetimes.Grace":     {life(func(l *refresh.Lifetimes) { l.Grace = -time.Millisecond }), life(func(l *refresh.Lifetimes) { l.Grace = time.Minute + time.Millisecond }), life(func(l *refresh.Lifetimes) { l.Grace = 1 })},
		"Lifetimes.LateEvery": {life(func(l *refresh.Lifetimes) { l.LateEvery = -1 }), life(func(l *refresh.Lifetimes) { l.LateEvery = 10*time.Minute - 1 }), life(func(l *refresh.Lifetimes) { l.LateEvery = year + 1 })},
	}
	// Whatever these are, it can be meant; LateBound only takes away.
	harmless := "Config.Ask Config.OnReplay Config.OnGrace Config.OnLate Config.OnUnbound Config.Logger Lifetimes.LateBound"
	for _, typ := range []reflect.Type{reflect.TypeFor[refresh.Config](), reflect.TypeFor[refresh.Lifetimes]()} {
		for _, f := range reflect.VisibleFields(typ) {
			if name := typ.Name() + "." + f.Name; f.IsExported() && refused[name] == nil && !strings.Contains(" "+harmless+" ", " "+name+" ") {
				t.Errorf("%s has no rows: add values that cannot be meant, or name it as harmless", name)
			}
		}
	}
	good := refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: local}
	for name, changes := range refused {
		_, field, _ := strings.Cut(name, ".")
		for i, change := range changes {
			c := good
			change(&c)
			if m, err := refresh.NewManager(c); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s, row %d: %v", name, i, err)
				if m != nil {
					m.Close()
				}
			}
		}
	}
	for i, change := range []change{
		func(*refresh.Config) {}, func(c *refresh.Config) { c.MaxSessions = 1000 }, func(c *refresh.Config) { c.Lifetimes = refresh.Consumer },
		life(func(l *refresh.Lifetimes) { l.Grace = time.Minute }), life(func(l *refresh.Lifetimes) { l.Grace = 0 }),
		life(func(l *refresh.Lifetimes) { l.Idle, l.Access = 10*time.Second, 10*time.Second }), life(func(l *refresh.Lifetimes) { l.Idle, l.Access = l.Absolute, 15*time.Minute }),
		life(func(l *refresh.Lifetimes) {
			l.Absolute, l.Idle, l.Access = 10*time.Second, 10*time.Second, 10*time.Second
		}),
		life(func(l *refresh.Lifetimes) { l.LateEvery = 10 * time.Minute }), life(func(l *refresh.Lifetimes) { l.LateEvery = year }),
	} {
		c := good
		change(&c)
		m, err := refresh.NewManager(c)
		if err != nil {
			t.Errorf("good twin %d: %v", i, err)
			continue
		}
		m.Close()
	}
}

// The three profiles are what they are documented to be; a session lives by them for as long as it
// does, and changing one is a change for everybody who uses it.
func TestProfiles(t *testing.T) {
	const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour
	for name, c := range map[string]struct{ is, want refresh.Lifetimes }{
		"HighSecurity": {refresh.HighSecurity, refresh.Lifetimes{Idle: 15 * minute, Absolute: 30 * minute, Access: 5 * minute, LateEvery: day, LateBound: true}},
		"Web":          {refresh.Web, refresh.Lifetimes{Idle: hour, Absolute: day, Access: 15 * minute, Grace: 10 * time.Second}},
		"Consumer":     {refresh.Consumer, refresh.Lifetimes{Idle: 30 * day, Absolute: 90 * day, Access: 15 * minute, Grace: 10 * time.Second, LateEvery: day}},
	} {
		if c.is != c.want {
			t.Errorf("%s is %+v, want %+v", name, c.is, c.want)
		}
	}
}

// The Issuer and the List must mean one MaxSkew.
func TestManagerRefusesAnotherMaxSkew(t *testing.T) {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	for _, skew := range []time.Duration{0, time.Second, 2 * time.Second} {
		issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring, MaxSkew: skew})
		if err != nil {
			t.Fatal(err)
		}
		list, err := revoke.NewList(revoke.Config{Local: true})
		if err != nil {
			t.Fatal(err)
		}
		m, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list})
		if good := skew != time.Second; (err == nil) != good || err != nil && !strings.Contains(err.Error(), "MaxSkew of 1s") {
			t.Errorf("Issuer's MaxSkew %s: %v", skew, err)
		}
		if err == nil {
			_ = m.Close()
		}
	}
}
