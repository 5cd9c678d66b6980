package token

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// The times that are computed once say what is said each time of a token not remembered, for
// every instant around each of its times, to the nanosecond.
func TestStandingAgreesWithStands(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	inside, outside := 0, 0
	const now = 1_800_000_000_000
	pick := func(all ...int64) int64 { return all[rng.IntN(len(all))] }
	for round := range 20_000 {
		a := &acceptor{lifetime: pick(3_600_000, math.MaxInt64), leeway: pick(1, 30_000, 300_000), ahead: pick(0, 1, 2_000), minted: pick(0, 4_000, math.MaxInt64/2)}
		a.cfg.Logger = slog.New(slog.DiscardHandler)
		a.cfg.Issuer, a.cfg.Audiences, a.cfg.RequireBinding = "i", []string{"a"}, rng.IntN(10) == 0
		c := &Claims{issuer: "i", audience: []string{[]string{"a", "b"}[min(rng.IntN(10), 1)^1]}}
		c.issued = date{now + pick(-3_599_000, -1, 0, 1, 1_999), rng.IntN(8) > 0}
		c.expires = date{c.issued.ms + pick(1, 1_000, 3_600_000), true}
		if a.lifetime == math.MaxInt64 && rng.IntN(4) == 0 {
			c.expires.ms = pick(math.MaxInt64/2000, 253402300799000)
		}
		if rng.IntN(3) == 0 {
			c.notBefore = date{now + pick(-5_000, 0, 1, 40_000), true}
		}
		if rng.IntN(3) == 0 {
			c.minted = date{c.issued.ms + pick(0, 1, 4_000, 5_000), true}
		}
		if rng.IntN(10) == 0 {
			c.binding.CertificateThumbprint = "x"
		}
		since, until := a.standing(c)
		for _, ms := range []int64{since / 1e6, until / 1e6, c.issued.ms, c.issued.ms - a.ahead, c.expires.ms + a.leeway, c.notBefore.ms - a.leeway, c.minted.ms - min(a.minted, now), now} {
			for _, off := range []int64{-1_000_000, -1, 0, 1, 999_999, 1_000_000} {
				wall := max(min(ms, math.MaxInt64/1_000_000-2)*1_000_000+off, 0)
				at := time.Unix(0, wall)
				before := a.clocks.in.Load()
				_, err := a.stands(c, &nothing, &presented{}, "", at)
				counted := a.clocks.in.Load() != before
				if wall < since || wall >= until {
					outside++
					continue // is judged in full
				}
				inside++
				if err != nil || counted {
					t.Fatalf("round %d: since %d, until %d, at %d: %v, counted %t\n%+v", round, since, until, wall, err, counted, *c)
				}
			}
		}
		// And the way is there for nearly every token that is good now.
		_, err := a.stands(c, &nothing, &presented{}, "", time.UnixMilli(now))
		if in := since <= now*1_000_000 && now*1_000_000 < until; err == nil && !in && c.binding.IsZero() && c.issued.ms <= now {
			t.Fatalf("round %d: a token that is good is judged in full each time: %+v", round, *c)
		}
	}
	if inside < 10_000 || outside < 10_000 {
		t.Errorf("%d instants inside, %d outside: too few to say anything", inside, outside)
	}
}

// The keys of a remote set are those at hand for as long as both clocks say that it need not be
// fetched: a machine that slept, whose monotonic clock stood still, and one whose wall clock was
// set back are not mistaken.
func TestRemoteKeysAreFreshByBothClocks(t *testing.T) {
	keys := &StaticKeySet{number: sets.Add(1)}
	s := new(RemoteKeySet)
	at := revoke.Instant{Wall: 1_800_000_000_000_000_000, Mono: int64(time.Hour)}
	a := &acceptor{remote: s}
	if a.keysAt(at) != nil {
		t.Error("keys before a fetch")
	}
	s.current.Store(&remoteKeys{keys: keys, at: at, fresh: time.Minute})
	for _, x := range []struct {
		name       string
		wall, mono time.Duration
		fresh      bool
	}{
		{"at once", 0, 0, true}, {"in time", 59 * time.Second, 59 * time.Second, true}, {"when due", time.Minute, time.Minute, false},
		{"after a sleep", time.Hour, time.Second, false}, {"with the wall clock set back", -time.Hour, time.Minute, false}, {"with the wall clock set back, in time", -time.Hour, time.Second, true},
	} {
		now := revoke.Instant{Wall: at.Wall + int64(x.wall), Mono: at.Mono + int64(x.mono)}
		if got := a.keysAt(now); (got == keys) != x.fresh || got != nil && got != keys {
			t.Errorf("%s: fresh %t", x.name, got != nil)
		}
	}
	if (*StaticKeySet)(nil).is(0) || (&StaticKeySet{}).is(0) || keys.is(0) || !keys.is(keys.number) {
		t.Error("a set is taken for another")
	}
}
