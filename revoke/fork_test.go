package revoke_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// digestBeat puts the heartbeat of a member into the log that carries that digest.
func (r *reader) digestBeat(l *tape, d *replica.Digest) {
	hb := replica.Heartbeat{Time: r.now.Time(), Name: "other", Digest: d}
	rand.Read(hb.Nonce[:])
	l.append(r.now.Time(), message{beat: &hb})
}

// behind returns a replica behind a mirror that has read a log of three events and
// has not seen a digest yet, and one at the origin, which sends them.
func behind(t *testing.T) (m, origin *reader, l *tape) {
	origin, l = ready(t)
	m = newReplica(t, revoke.Config{})
	m.now = origin.now
	m.mirror(l)
	m.must(m.read(l))
	return m, origin, l
}

func (r *reader) mirror(l *tape) {
	info := l.info()
	info.Mirror = true
	r.sub = r.feed.Begin(r.now, info)
	r.pos, r.n = r.sub.Start-1, 0
}

// both lets a second pass and the origin's member send a heartbeat with its digest, and
// has both read it.
func both(m, origin *reader, l *tape, says func(replica.Digest) *replica.Digest) {
	m.t.Helper()
	for _, r := range []*reader{m, origin} {
		r.pass(time.Second)
	}
	d := origin.feed.Digest()
	origin.digestBeat(l, says(d))
	m.must(m.read(l))
	origin.must(origin.read(l))
}

func truth(d replica.Digest) *replica.Digest { return &d }
func nothing(replica.Digest) *replica.Digest { return nil }
func lie(d replica.Digest) *replica.Digest   { d.Sum[0]++; return &d }
func (r *reader) proven() revoke.Instant     { return r.list.Status(r.now).Proven }
func (r *reader) stats() revoke.Stats        { return r.list.Stats(r.now) }
func (r *reader) is(s revoke.State, what string) {
	r.t.Helper()
	if got := r.list.Status(r.now); got.State != s {
		r.t.Fatalf("%s: %s (%s), age %s, want %s", what, got.State, got.Reason, got.Age, s)
	}
}

// TestMirrorNeedsDigests: behind a mirror heartbeats count as before until the first
// digest is seen, and then they prove what a later digest covers and no more.
func TestMirrorNeedsDigests(t *testing.T) {
	m, origin, l := behind(t)
	for range 4 {
		both(m, origin, l, nothing) // of a version before digests
	}
	m.is(revoke.StateFresh, "before any digest")

	both(m, origin, l, truth) // covers the heartbeat before
	if at := m.proven(); m.now.Since(at) < 3*time.Second {
		t.Errorf("proven %s ago, by the very heartbeat that carries the digest", m.now.Since(at))
	}
	before := m.proven()
	both(m, origin, l, nothing)
	if m.proven() != before {
		t.Error("a heartbeat without a digest has proven something")
	}
	both(m, origin, l, truth)
	if at := m.proven(); at == before || m.now.Since(at) != 3*time.Second { // one second and MaxSkew
		t.Errorf("proven %s ago, want 3 s: the heartbeat before this one", m.now.Since(at))
	}
	if s := m.stats(); s.Agreed < 2 || s.Disputed != 0 {
		t.Errorf("%d agreed, %d disputed", s.Agreed, s.Disputed)
	}
	for range 20 {
		both(m, origin, l, nothing)
	}
	m.is(revoke.StateStale, "after 20 s without a digest")
	m.want(revoke.StateStale, revoke.ReasonNoHeartbeat)
	origin.is(revoke.StateFresh, "at the origin, where heartbeats prove by themselves")
}

// TestMirrorWithAnotherLog: a replica behind a mirror that lacks what the sender had goes
// stale by age with reason fork, and says so; once the mirror was made anew, it
// reads the log from its start though what it applied last stands there.
func TestMirrorWithAnotherLog(t *testing.T) {
	m, origin, l := behind(t)
	both(m, origin, l, truth)
	both(m, origin, l, truth)
	both(m, origin, l, truth)
	m.is(revoke.StateFresh, "to begin with")

	// The origin is restored from a backup of before its last event, and goes on.
	l.revoke(m.now.Time(), "lost")
	m.must(m.read(l))
	l = l.rollback(l.seq - 1)
	origin.feed.Broken(origin.now, revoke.ReasonDisconnected)
	l.revoke(m.now.Time(), "unseen")
	origin.begin(l)
	if origin.sub.Anchored {
		origin.must(origin.read(l))
	}
	for range 20 {
		both(m, origin, l, truth)
	}
	origin.is(revoke.StateFresh, "at the origin")
	m.want(revoke.StateStale, revoke.ReasonFork)
	if m.refuses("unseen") || !m.refuses("lost") || !origin.refuses("unseen") {
		t.Error("that is not the fork that was to be made")
	}
	if _, doubts := m.feed.Doubt(m.now); !doubts {
		t.Error("no second reading is asked for")
	}

	m.feed.Broken(m.now, revoke.ReasonRebuilding)
	m.mirror(l)
	if m.sub.Anchored {
		t.Error("begins at the cursor, which stands in the new log, too")
	}
	m.must(m.read(l))
	for range 4 {
		both(m, origin, l, truth)
	}
	m.is(revoke.StateFresh, "after the mirror was made anew")
	if !m.refuses("unseen") {
		t.Error("what was missed is not refused")
	}
}

// TestLiar: a member that sends digests of something else takes nothing from a member at
// the origin, silences nobody, and costs ever rarer second readings.
func TestLiar(t *testing.T) {
	r, l := ready(t)
	r.feed.Attest()
	r.pass(time.Second)
	r.beat(l)
	r.must(r.read(l))
	readings, beats := 0, 0
	for range 6 * 3600 {
		r.pass(time.Second)
		d := r.feed.Digest()
		r.digestBeat(l, lie(d))
		r.must(r.read(l))
		l.messages = l.messages[len(l.messages)-1:]
		if _, doubts := r.feed.Doubt(r.now); doubts {
			readings++
		}
		if r.feed.BeatIn(r.now) == 0 {
			beats++
			r.beat(l)
			r.must(r.read(l))
			l.messages = l.messages[len(l.messages)-1:]
		}
		r.is(revoke.StateFresh, "beside a liar")
	}
	// 1, 2, 4 … minutes and then every hour, up to a quarter more.
	if readings < 8 || readings > 13 {
		t.Errorf("%d second readings in six hours", readings)
	}
	if beats < 6*3600/2 {
		t.Errorf("%d own heartbeats in six hours: the liar silences", beats)
	}
	if s := r.stats(); s.Disputed < 6*3600 || s.Replays != 1 {
		t.Errorf("%d disputed, %d replays", s.Disputed, s.Replays)
	}
}

// Behind a mirror a liar takes nothing away either while somebody tells the truth.
func TestLiarBehindMirror(t *testing.T) {
	m, origin, l := behind(t)
	for range 60 {
		both(m, origin, l, lie)
		both(m, origin, l, truth)
		if m.stats().Agreed > 1 {
			m.is(revoke.StateFresh, "while one of two tells the truth")
		}
	}
	if m.stats().Agreed < 50 {
		t.Fatalf("%d agreed", m.stats().Agreed)
	}
	for range 20 {
		both(m, origin, l, lie)
	}
	m.want(revoke.StateStale, revoke.ReasonFork) // safe, not fresh: nobody is left who proves
	both(m, origin, l, truth)
	both(m, origin, l, truth)
	m.is(revoke.StateFresh, "as soon as somebody tells it again")
}

// TestDamagedServer: a replica at the origin whose server has lost a message in the middle
// of the log sees no gap, and its own heartbeats come back. The others' digests differ, a
// second reading of another server does too, and the log is read anew.
func TestDamagedServer(t *testing.T) {
	whole, l := ready(t)
	damaged := &tape{seq: l.seq}
	for _, m := range l.messages {
		if m.seq != 2 {
			damaged.messages = append(damaged.messages, m)
		}
	}
	r := newReplica(t, revoke.Config{})
	r.now = whole.now
	r.begin(damaged)
	r.must(r.read(damaged))
	for range 3 {
		r.pass(time.Second)
		whole.pass(time.Second)
		whole.digestBeat(l, truth(whole.feed.Digest()))
		whole.must(whole.read(l))
		damaged.messages = append(damaged.messages, l.messages[len(l.messages)-1])
		r.must(r.read(damaged))
	}
	from, doubts := r.feed.Doubt(r.now)
	if !doubts || from == 0 {
		t.Fatalf("no doubt: %+v", r.stats())
	}
	digest := func(l *tape) replica.Digest {
		var d replica.LogDigest
		for i := range l.messages {
			rec := l.messages[i].record(0, 0)
			d.Add(&rec)
			if l.messages[i].beat != nil && rec.Sequence >= from {
				return d.At(&rec)
			}
		}
		t.Fatal("no heartbeat")
		return replica.Digest{}
	}
	if same, known := r.feed.Settle(digest(damaged)); !same || !known {
		t.Errorf("the damaged server's log: same %t, known %t", same, known)
	}
	if same, known := r.feed.Settle(digest(l)); same || !known {
		t.Errorf("the whole log: same %t, known %t", same, known)
	}
	if _, known := r.feed.Settle(replica.Digest{Sequence: 1 << 40}); known {
		t.Error("knows what is to come")
	}
	r.feed.Rewind()
	r.begin(l)
	r.must(r.read(l))
	if !r.refuses("old1") {
		t.Error("what the damaged server had lost is not refused")
	}
}

// A member silenced by others' digests sends none of its own, and one that only old
// versions beat beside goes on.
func TestWhoSilences(t *testing.T) {
	for _, c := range []struct {
		name    string
		attests bool
		says    func(replica.Digest) *replica.Digest
		silent  bool
	}{
		{"agrees", true, truth, true},
		{"differs", true, lie, false},
		{"without", true, nothing, false},
		{"cannot tell", true, func(replica.Digest) *replica.Digest { return new(replica.Digest) }, false},
		{"agrees, for one that does not attest", false, truth, true},
		{"differs, for one that does not attest", false, lie, false},
		{"without, for one that does not attest", false, nothing, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := ready(t)
			if c.attests {
				r.feed.Attest()
			}
			beats := 0
			for range 100 {
				r.pass(time.Second)
				d := r.feed.Digest()
				if d == (replica.Digest{}) {
					t.Fatal("no digest")
				}
				r.digestBeat(l, c.says(d))
				r.must(r.read(l))
				if r.feed.BeatIn(r.now) == 0 {
					beats++
				}
			}
			if c.silent && beats > 1 || !c.silent && beats < 33 {
				t.Errorf("%d beats of its own", beats)
			}
		})
	}
}

// A digest of old, which agrees and proves nothing new, silences nobody either.
func TestOldDigestSilencesNobody(t *testing.T) {
	r, l := ready(t)
	r.feed.Attest()
	r.pass(time.Second)
	r.beat(l)
	r.must(r.read(l))
	old, beats := r.feed.Digest(), 0
	for i := range 100 {
		r.pass(time.Second)
		r.digestBeat(l, &old)
		r.must(r.read(l))
		if r.feed.BeatIn(r.now) == 0 && i > 10 {
			beats++
		}
	}
	if s := r.stats(); beats < 30 || s.Agreed < 100 {
		t.Errorf("%d beats of its own, %d agreed", beats, s.Agreed)
	}
}

// Behind a mirror a member sends no digest, and leaves the beating to those at the origin
// for three intervals.
func TestMirrorBeatsLate(t *testing.T) {
	m, _, _ := behind(t)
	m.feed.Attest()
	if d := m.feed.Digest(); d != (replica.Digest{}) {
		t.Errorf("attests %+v", d)
	}
	m.pass(m.feed.BeatIn(m.now)) // perhaps of the reading before
	if d := m.feed.BeatIn(m.now); d < 3*time.Second || d > 4*time.Second {
		if d = m.feed.BeatIn(m.now); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("beats in %s", d)
		}
	}
}

// TestCatchingUpIsNoClockSkew: heartbeats that are late because a mirror catches up say
// nothing of clocks; those whose senders' clocks are off do.
func TestCatchingUpIsNoClockSkew(t *testing.T) {
	for _, c := range []struct {
		name string
		late time.Duration // between the log and the replica
		off  time.Duration // the sender's clock
		want revoke.Reason
	}{
		{"late", 20 * time.Second, 0, revoke.ReasonNoHeartbeat},
		{"a clock behind", 0, -20 * time.Second, revoke.ReasonClockSkew},
	} {
		r, l := newReplica(t, revoke.Config{}), &tape{}
		l.revoke(r.now.Time(), "x")
		info := l.info()
		info.Time, info.Mirror = r.now.Time(), true
		r.sub = r.feed.Begin(r.now, info)
		r.must(r.read(l))
		r.feed.Broken(r.now, revoke.ReasonDisconnected)
		r.sub = r.feed.Begin(r.now, info) // anchored: no heartbeat is why it is not fresh
		r.pos, r.n = r.sub.Start-1, 0
		r.otherBeat(l, c.off)
		r.pass(c.late)
		r.must(r.read(l))
		if got := r.list.Status(r.now).Reason; got != c.want {
			t.Errorf("%s: reason %s, want %s", c.name, got, c.want)
		}
	}
}

// Behind a mirror a proof is one heartbeat older than at the origin. With a MaxStaleness
// that leaves no room for it the replica is stale now and then although nothing is wrong,
// and says so when it begins; with the least that is not warned of it never is, with
// heartbeats as far apart as they ever are and half a second on their way.
func TestMirrorNeedsPatience(t *testing.T) {
	for staleness, short := range map[time.Duration]bool{5 * time.Second: true, 7*time.Second - time.Millisecond: true, 7 * time.Second: false, 15 * time.Second: false} {
		for _, mirror := range []bool{true, false} {
			var logged bytes.Buffer
			origin, l := ready(t)
			r := newReplica(t, revoke.Config{MaxStaleness: staleness, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			r.now = origin.now
			for range 2 { // it is said once
				if mirror {
					r.mirror(l)
				} else {
					r.begin(l)
				}
			}
			r.must(r.read(l))
			if got, want := strings.Count(logged.String(), "behind a mirror MaxStaleness"), map[bool]int{true: 1}[short && mirror]; got != want {
				t.Errorf("%s, mirror %t: warned %d times, want %d", staleness, mirror, got, want)
			}
			stale := false
			for i := range 100 {
				d := origin.feed.Digest()
				origin.digestBeat(l, &d)
				for tenth := range 20 {
					if tenth == 5 {
						origin.must(origin.read(l))
						r.must(r.read(l))
					}
					r.pass(100 * time.Millisecond)
					origin.pass(100 * time.Millisecond)
					stale = stale || i > 4 && r.list.Status(r.now).State != revoke.StateFresh
				}
			}
			if stale != (mirror && staleness == 5*time.Second) {
				t.Errorf("%s, mirror %t: stale %t", staleness, mirror, stale)
			}
		}
	}
}

// The server that stamps messages may be another than the one that is read, and its clock
// may be minutes behind, or become so when another leads. Replicas behind the mirror stay
// fresh, or are soon again: senders' clocks tell that heartbeats are not old. One that joins
// finds less in the log than its senders have read, and accuses nobody of it. A fork is found
// out as ever.
func TestLogServersClockIsBehind(t *testing.T) {
	for _, behind := range []time.Duration{0, time.Minute + time.Second, 5 * time.Minute, -5 * time.Minute} {
		origin, l := ready(t)
		fork := &tape{seq: l.seq, messages: slices.Clone(l.messages)} // will lack one event
		m, forked := newReplica(t, revoke.Config{}), newReplica(t, revoke.Config{})
		m.now, forked.now = origin.now, origin.now
		m.mirror(l)
		m.must(m.read(l))
		forked.mirror(fork)
		forked.must(forked.read(fork))
		const joins = 900
		var late *reader
		said := 0
		for i := range joins + 400 {
			for _, r := range []*reader{origin, m, forked} {
				r.pass(time.Second)
			}
			if late != nil {
				late.pass(time.Second)
			}
			if i == joins {
				late = newReplica(t, revoke.Config{})
				late.now = m.now
				left := *l
				left.messages = slices.DeleteFunc(slices.Clone(l.messages), func(x message) bool { return x.life > 0 && !x.time.Add(x.life).After(m.now.Time()) })
				late.mirror(&left)
				late.must(late.read(&left))
			}
			if i == 400 {
				l.append(m.now.Time().Add(-behind), message{event: &revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "withheld", Until: m.now.Time().Add(time.Hour)}})
			}
			d := origin.feed.Digest()
			if d != (replica.Digest{}) {
				said++
			}
			hb := replica.Heartbeat{Time: m.now.Time(), Name: "other", Digest: &d}
			rand.Read(hb.Nonce[:])
			from := len(l.messages)
			l.append(m.now.Time().Add(-behind), message{beat: &hb, life: 15 * time.Minute})
			for _, message := range l.messages[from:] {
				fork.seq, fork.messages = l.seq, append(fork.messages, message)
			}
			origin.must(origin.read(l))
			m.must(m.read(l))
			forked.must(forked.read(fork))
			if late != nil {
				late.must(late.read(l))
			}
			if i > 20 && time.Duration(i)*time.Second > behind { // until then something that counts may have expired before it was read
				m.is(revoke.StateFresh, fmt.Sprintf("behind by %s, after %d s", behind, i))
				if i < 400 {
					forked.is(revoke.StateFresh, fmt.Sprintf("before the fork, behind by %s, after %d s", behind, i))
				}
			}
			if i > 420 {
				forked.is(revoke.StateStale, fmt.Sprintf("a fork, behind by %s, after %d s", behind, i))
			}
		}
		late.is(revoke.StateFresh, fmt.Sprintf("joined late, behind by %s", behind))
		if said < joins || m.stats().Disputed+late.stats().Disputed != 0 {
			t.Errorf("behind by %s: %d digests sent, %d disputed, %d of who joins", behind, said, m.stats().Disputed, late.stats().Disputed)
		}
	}
}

// A replica behind a mirror that heartbeats prove without digests, because none comes or
// none counts, is fresh, and says once that a fork would go unnoticed. At the origin, or
// where digests come, there is nothing to say.
func TestMirrorWithoutDigestsIsLogged(t *testing.T) {
	for _, c := range []struct {
		name   string
		mirror bool
		says   func(replica.Digest) *replica.Digest
		want   int
	}{{"a mirror, no digests", true, nothing, 1}, {"a mirror, digests", true, truth, 0}, {"the origin, no digests", false, nothing, 0}} {
		var logged bytes.Buffer
		origin, l := ready(t)
		r := newReplica(t, revoke.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		r.now = origin.now
		begin := func() {
			if r.begin(l); c.mirror {
				r.mirror(l)
			}
			r.must(r.read(l))
		}
		begin()
		for i := range 300 {
			both(r, origin, l, c.says)
			if i > 5 {
				r.is(revoke.StateFresh, c.name)
			}
			if i < 30 && logged.Len() > 0 && strings.Contains(logged.String(), "no heartbeat carries a digest") {
				t.Fatalf("%s: logged after %d s, when the first may be on its way", c.name, i)
			}
			if i == 150 { // a new subscription is no news
				r.feed.Broken(r.now, revoke.ReasonDisconnected)
				begin()
			}
		}
		if got := strings.Count(logged.String(), "no heartbeat carries a digest"); got != c.want {
			t.Errorf("%s: logged %d times, want %d", c.name, got, c.want)
		}
	}
}

// A mirror that was made the log itself needs no digests any more.
func TestPromotedMirror(t *testing.T) {
	m, origin, l := behind(t)
	for range 4 {
		both(m, origin, l, truth)
	}
	m.is(revoke.StateFresh, "with digests")
	for range 20 {
		both(m, origin, l, nothing)
	}
	m.is(revoke.StateStale, "without digests")
	m.feed.Judge(m.now, l.info())
	both(m, origin, l, nothing)
	m.is(revoke.StateFresh, "promoted")
}

func ExampleLogDigest() {
	var d replica.LogDigest
	at := time.Unix(1_800_000_000, 0)
	d.Add(&replica.Record{Sequence: 1, Time: at, Subject: "revocations.v1.x.session", Data: []byte("{}"), Life: time.Hour})
	beat := replica.Record{Sequence: 2, Time: at, Subject: "revocations.v1.heartbeat", Data: []byte("{}"), Life: 15 * time.Minute}
	d.Add(&beat)
	digest := d.At(&beat)
	fmt.Printf("%d messages, %x…\n", digest.Count, digest.Sum[:4])
	// Output: 2 messages, 44431fb6…
}
