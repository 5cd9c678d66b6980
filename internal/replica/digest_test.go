package replica

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// A digestLog is a log whose messages expire.
type digestLog struct {
	rng  *rand.Rand
	now  time.Time
	seq  uint64
	live []Record
	beat map[uint64]bool
}

func newDigestLog(seed uint64) *digestLog {
	return &digestLog{rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_800_000_000, 0), beat: map[uint64]bool{}}
}

// lives are what publishers set, at the borders of the groups among others.
var lives = []time.Duration{0, time.Minute, 15 * time.Minute, 16 * time.Minute, time.Hour + 15*time.Minute, 3 * time.Hour,
	3*time.Hour + time.Second, 3 * 24 * time.Hour, 3*24*time.Hour + time.Second, 90 * 24 * time.Hour, 20 * 366 * 24 * time.Hour}

func (l *digestLog) append() Record {
	l.now = l.now.Add(time.Duration(l.rng.IntN(20_000)) * time.Millisecond)
	l.seq += 1 + uint64(l.rng.IntN(2))
	r := Record{Sequence: l.seq, Time: l.now, Subject: "s", Data: []byte(strconv.Itoa(l.rng.IntN(1e9))), Life: lives[l.rng.IntN(len(lives))]}
	if l.rng.IntN(3) == 0 {
		r.Life, r.Subject = 15*time.Minute, "beat"
		l.beat[l.seq] = true
	}
	l.live = append(l.live, r)
	return r
}

func (l *digestLog) expire() {
	l.live = slices.DeleteFunc(l.live, func(r Record) bool { return r.Life > 0 && !r.Time.Add(r.Life).After(l.now) })
}

// TestDigestIsTheSameForEveryReader: one that has read the log all the time, and one that
// begins now, when much of it has expired, find the same at every heartbeat that both can
// answer for.
func TestDigestIsTheSameForEveryReader(t *testing.T) {
	compared := 0
	for seed := range uint64(40) {
		l := newDigestLog(seed)
		var always LogDigest
		at := map[uint64]Digest{}
		for range 600 {
			l.expire()
			r := l.append()
			always.Add(&r)
			if l.beat[r.Sequence] {
				at[r.Sequence] = always.At(&r)
			}
			if l.rng.IntN(20) > 0 {
				continue
			}
			l.expire()
			var late LogDigest
			for _, r := range l.live {
				late.Add(&r)
				if !l.beat[r.Sequence] || !late.Whole(&r, l.now) {
					continue
				}
				compared++
				if d := late.At(&r); d != at[r.Sequence] {
					t.Fatalf("seed %d, sequence %d: %+v for one who reads it now, %+v for one who always did", seed, r.Sequence, d, at[r.Sequence])
				}
			}
		}
	}
	if compared < 500 {
		t.Errorf("only %d digests were compared", compared)
	}
}

// TestDigestCoversWhatIsNeeded: one message that is missing or another is noticed for as
// long as a verifier needs it, until 10 minutes after Until, which is 5 minutes before the
// message expires, or by its grain earlier, which publishers add.
func TestDigestCoversWhatIsNeeded(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, life := range lives[2:] {
		changes := map[string]func(r *Record) bool{ // false: leave it out
			"missing":       func(r *Record) bool { return false },
			"other time":    func(r *Record) bool { r.Time = r.Time.Add(1); return true },
			"other place":   func(r *Record) bool { r.Sequence++; return true },
			"other subject": func(r *Record) bool { r.Subject += "x"; return true },
			"other payload": func(r *Record) bool { r.Data = []byte("y"); return true },
			"moved border":  func(r *Record) bool { r.Subject, r.Data = "events", []byte("x"); return true },
		}
		for name, change := range changes {
			needed := life - 5*time.Minute
			if DigestGrain(life) > time.Minute {
				needed -= DigestGrain(life)
			}
			for _, age := range []time.Duration{0, needed / 2, needed} {
				if life > maxLife {
					age = min(age, maxLife)
				}
				var whole, changed LogDigest
				r := Record{Sequence: 7, Time: start, Subject: "event", Data: []byte("sx"), Life: life}
				beat := Record{Sequence: 9, Time: start.Add(age), Subject: "beat", Life: 15 * time.Minute}
				whole.Add(&r)
				if change(&r) {
					changed.Add(&r)
				}
				whole.Add(&beat)
				changed.Add(&beat)
				if whole.At(&beat) == changed.At(&beat) {
					t.Errorf("life %s, %s later: %s goes unnoticed", life, age, name)
				}
			}
		}
	}
}

// What nobody may still read counts for nobody.
func TestDigestForgets(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, life := range lives[1:10] {
		var with, without LogDigest
		r := Record{Sequence: 1, Time: start, Life: life}
		beat := Record{Sequence: 2, Time: start.Add(life - coverage + time.Second), Life: 15 * time.Minute}
		with.Add(&r)
		with.Add(&beat)
		without.Add(&beat)
		if a, b := with.At(&beat), without.At(&beat); a != b {
			t.Errorf("life %s: %+v with a message that is about to expire, %+v without", life, a, b)
		}
	}
}

// Groups are bounded, whatever lives are named, and do not pile up.
func TestDigestIsBounded(t *testing.T) {
	var d LogDigest
	rng := rand.New(rand.NewPCG(1, 1))
	now := time.Unix(1_800_000_000, 0)
	most := 0
	for i := range 300_000 {
		if i%100 == 0 {
			now = now.Add(10 * time.Minute) // three weeks, in all
			beat := Record{Sequence: uint64(i + 1), Time: now, Life: 15 * time.Minute}
			d.Add(&beat)
			d.At(&beat)
		}
		life := time.Duration(rng.Int64N(int64(12 * 366 * 24 * time.Hour)))
		if i%2 == 0 {
			life %= 4 * 24 * time.Hour
		}
		d.Add(&Record{Sequence: uint64(i + 1), Time: now, Life: life})
		most = max(most, len(d.groups))
	}
	// Three hours of minutes, three days of hours, eleven years of days, and a day kept.
	if limit := 3*60 + 3*24 + 11*366 + 24*60 + 10; most > limit {
		t.Errorf("%d groups, more than %d", most, limit)
	}
}

func TestDigestAllocatesNothing(t *testing.T) {
	var d LogDigest
	r := Record{Sequence: 1, Time: time.Unix(1_800_000_000, 0), Subject: "subject", Data: make([]byte, 300), Life: time.Hour}
	d.Add(&r)
	if n := testing.AllocsPerRun(100, func() { d.Add(&r) }); n != 0 {
		t.Errorf("%.0f allocations for a message", n)
	}
}

func BenchmarkLogDigest(b *testing.B) {
	var d LogDigest
	r := Record{Time: time.Unix(1_800_000_000, 0), Subject: "revocations.v1.abcdefghijklmnop.session", Data: make([]byte, 250), Life: time.Hour}
	for i := range b.N {
		r.Sequence = uint64(i)
		d.Add(&r)
	}
}
