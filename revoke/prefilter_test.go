package revoke

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Whatever was added is found, of any length; of few, little else is.
func TestGlances(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	value := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	var g prefilter
	var added []string
	for n := range MaxValueBytes + 1 {
		v := value(n)
		g.add(v)
		added = append(added, v)
		for _, v := range added {
			if !g.mayHave(v) || !g.mayHave(strings.Clone(v)) {
				t.Fatalf("%q was added and is not found", v)
			}
		}
	}
	found := 0
	const probes = 10_000
	for range probes {
		if g.mayHave(value(8 + rng.IntN(40))) {
			found++
		}
	}
	if found > probes/16 { // 513 of 16,384 bits are set
		t.Errorf("%d of %d values that were not added", found, probes)
	}
	g.addAll()
	for range probes {
		if v := value(rng.IntN(40)); !g.mayHave(v) {
			t.Fatalf("%q is not found among all", v)
		}
	}
}

// A value of any length an event may have is refused, once applied, and no other of its
// length (invariants 1 and 2).
func TestEveryLength(t *testing.T) {
	l, err := NewList(Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	now := Now()
	long := strings.Repeat("0123456789abcdef", MaxValueBytes/16)
	identity := func(k Kind, v string) Identity {
		id := Identity{Issuer: "https://a.example", IssuedAt: now.Time().Add(-time.Minute)}
		switch k {
		case KindToken:
			id.Token = v
		case KindSession:
			id.Session = v
		case KindSubject:
			id.Subject = v
		case KindClient:
			id.Client = v
		case KindTenant:
			id.Tenant = v
		}
		return id
	}
	for _, k := range []Kind{KindToken, KindSession, KindSubject, KindClient, KindTenant} {
		for n := 1; n <= MaxValueBytes; n++ {
			v := long[:n]
			id := identity(k, v)
			if err := l.Check(now, &id, Deny()); err != nil {
				t.Fatalf("%s of %d bytes, not revoked: %v", k, n, err)
			}
			if err := l.Apply(now, Event{Issuer: id.Issuer, Kind: k, Value: v}); err != nil {
				t.Fatal(err)
			}
			if err := l.Check(now, &id, Deny()); !errors.Is(err, ErrRevoked) {
				t.Fatalf("%s of %d bytes, revoked: %v", k, n, err)
			}
			id = identity(k, v[:n-1]+"!")
			if err := l.Check(now, &id, Deny()); err != nil {
				t.Fatalf("another %s of %d bytes: %v", k, n, err)
			}
		}
	}
}
