package replica_test

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
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// behind returns a replica behind a mirror that has read a log of three events and
// has not seen a digest yet, and one at the origin, which sends them.
func behind(t *testing.T) (m, origin *tape.Reader, l *tape.Log) {
	origin, l = tape.Ready(t)
	m = tape.NewReader(t, revoke.Config{})
	m.Now = origin.Now
	m.Mirror(l)
	m.Must(m.Read(l))
	return m, origin, l
}

// both lets a second pass and the origin's member send a heartbeat with its digest, and
// has both read it.
func both(m, origin *tape.Reader, l *tape.Log, says func(replica.Digest) *replica.Digest) {
	m.T.Helper()
	for _, r := range []*tape.Reader{m, origin} {
		r.Pass(time.Second)
	}
	d := origin.Feed.Digest()
	origin.DigestBeat(l, says(d))
	m.Must(m.Read(l))
	origin.Must(origin.Read(l))
}

func truth(d replica.Digest) *replica.Digest { return &d }
func nothing(replica.Digest) *replica.Digest { return nil }
func lie(d replica.Digest) *replica.Digest   { d.Sum[0]++; return &d }

// TestMirrorNeedsDigests: behind a mirror heartbeats count as before until the first
// digest is seen, and then they prove what a later digest covers and no more.
func TestMirrorNeedsDigests(t *testing.T) {
	m, origin, l := behind(t)
	for range 4 {
		both(m, origin, l, nothing) // of a version before digests
	}
	m.Is(revoke.StateFresh, "before any digest")

	both(m, origin, l, truth) // covers the heartbeat before
	if at := m.Proven(); m.Now.Since(at) < 3*time.Second {
		t.Errorf("proven %s ago, by the very heartbeat that carries the digest", m.Now.Since(at))
	}
	before := m.Proven()
	both(m, origin, l, nothing)
	if m.Proven() != before {
		t.Error("a heartbeat without a digest has proven something")
	}
	both(m, origin, l, truth)
	if at := m.Proven(); at == before || m.Now.Since(at) != 3*time.Second { // one second and MaxSkew
		t.Errorf("proven %s ago, want 3 s: the heartbeat before this one", m.Now.Since(at))
	}
	if s := m.Stats(); s.Agreed < 2 || s.Disputed != 0 {
		t.Errorf("%d agreed, %d disputed", s.Agreed, s.Disputed)
	}
	for range 20 {
		both(m, origin, l, nothing)
	}
	m.Is(revoke.StateStale, "after 20 s without a digest")
	m.Want(revoke.StateStale, revoke.ReasonNoHeartbeat)
	origin.Is(revoke.StateFresh, "at the origin, where heartbeats prove by themselves")
}

// TestMirrorWithAnotherLog: a replica behind a mirror that lacks what the sender had goes
// stale by age with reason fork, and says so; once the mirror was made anew, it
// reads the log from its start though what it applied last stands there.
func TestMirrorWithAnotherLog(t *testing.T) {
	m, origin, l := behind(t)
	both(m, origin, l, truth)
	both(m, origin, l, truth)
	both(m, origin, l, truth)
	m.Is(revoke.StateFresh, "to begin with")

	// The origin is restored from a backup of before its last event, and goes on.
	l.Revoke(m.Now.Time(), "lost")
	m.Must(m.Read(l))
	l = l.Rollback(l.Seq - 1)
	origin.Feed.Broken(origin.Now, revoke.ReasonDisconnected)
	l.Revoke(m.Now.Time(), "unseen")
	origin.Begin(l)
	if origin.Sub.Anchored {
		origin.Must(origin.Read(l))
	}
	for range 20 {
		both(m, origin, l, truth)
	}
	origin.Is(revoke.StateFresh, "at the origin")
	m.Want(revoke.StateStale, revoke.ReasonFork)
	if m.Refuses("unseen") || !m.Refuses("lost") || !origin.Refuses("unseen") {
		t.Error("that is not the fork that was to be made")
	}
	if _, doubts := m.Feed.Doubt(m.Now); !doubts {
		t.Error("no second reading is asked for")
	}

	m.Feed.Broken(m.Now, revoke.ReasonRebuilding)
	m.Mirror(l)
	if m.Sub.Anchored {
		t.Error("begins at the cursor, which stands in the new log, too")
	}
	m.Must(m.Read(l))
	for range 4 {
		both(m, origin, l, truth)
	}
	m.Is(revoke.StateFresh, "after the mirror was made anew")
	if !m.Refuses("unseen") {
		t.Error("what was missed is not refused")
	}
}

// TestLiar: a member that sends digests of something else takes nothing from a member at
// the origin, silences nobody, and costs ever rarer second readings.
func TestLiar(t *testing.T) {
	r, l := tape.Ready(t)
	r.Feed.Attest()
	r.Pass(time.Second)
	r.Beat(l)
	r.Must(r.Read(l))
	readings, beats := 0, 0
	for range 6 * 3600 {
		r.Pass(time.Second)
		d := r.Feed.Digest()
		r.DigestBeat(l, lie(d))
		r.Must(r.Read(l))
		l.Messages = l.Messages[len(l.Messages)-1:]
		if _, doubts := r.Feed.Doubt(r.Now); doubts {
			readings++
		}
		if r.Feed.BeatIn(r.Now) == 0 {
			beats++
			r.Beat(l)
			r.Must(r.Read(l))
			l.Messages = l.Messages[len(l.Messages)-1:]
		}
		r.Is(revoke.StateFresh, "beside a liar")
	}
	// 1, 2, 4 … minutes and then every hour, up to a quarter more.
	if readings < 8 || readings > 13 {
		t.Errorf("%d second readings in six hours", readings)
	}
	if beats < 6*3600/2 {
		t.Errorf("%d own heartbeats in six hours: the liar silences", beats)
	}
	if s := r.Stats(); s.Disputed < 6*3600 || s.Replays != 1 {
		t.Errorf("%d disputed, %d replays", s.Disputed, s.Replays)
	}
}

// Behind a mirror a liar takes nothing away either while somebody tells the truth.
func TestLiarBehindMirror(t *testing.T) {
	m, origin, l := behind(t)
	for range 60 {
		both(m, origin, l, lie)
		both(m, origin, l, truth)
		if m.Stats().Agreed > 1 {
			m.Is(revoke.StateFresh, "while one of two tells the truth")
		}
	}
	if m.Stats().Agreed < 50 {
		t.Fatalf("%d agreed", m.Stats().Agreed)
	}
	for range 20 {
		both(m, origin, l, lie)
	}
	m.Want(revoke.StateStale, revoke.ReasonFork) // safe, not fresh: nobody is left who proves
	both(m, origin, l, truth)
	both(m, origin, l, truth)
	m.Is(revoke.StateFresh, "as soon as somebody tells it again")
}

// TestDamagedServer: a replica at the origin whose server has lost a message in the middle
// of the log sees no gap, and its own heartbeats come back. The others' digests differ, a
// second reading of another server does too, and the log is read anew.
func TestDamagedServer(t *testing.T) {
	whole, l := tape.Ready(t)
	damaged := &tape.Log{Seq: l.Seq}
	for _, m := range l.Messages {
		if m.Seq != 2 {
			damaged.Messages = append(damaged.Messages, m)
		}
	}
	r := tape.NewReader(t, revoke.Config{})
	r.Now = whole.Now
	r.Begin(damaged)
	r.Must(r.Read(damaged))
	for range 3 {
		r.Pass(time.Second)
		whole.Pass(time.Second)
		whole.DigestBeat(l, truth(whole.Feed.Digest()))
		whole.Must(whole.Read(l))
		damaged.Messages = append(damaged.Messages, l.Messages[len(l.Messages)-1])
		r.Must(r.Read(damaged))
	}
	from, doubts := r.Feed.Doubt(r.Now)
	if !doubts || from == 0 {
		t.Fatalf("no doubt: %+v", r.Stats())
	}
	digest := func(l *tape.Log) replica.Digest {
		var d replica.LogDigest
		for i := range l.Messages {
			rec := l.Messages[i].Record(0, 0)
			d.Add(&rec)
			if l.Messages[i].Beat != nil && rec.Sequence >= from {
				return d.At(&rec)
			}
		}
		t.Fatal("no heartbeat")
		return replica.Digest{}
	}
	if same, known := r.Feed.Settle(digest(damaged)); !same || !known {
		t.Errorf("the damaged server's log: same %t, known %t", same, known)
	}
	if same, known := r.Feed.Settle(digest(l)); same || !known {
		t.Errorf("the whole log: same %t, known %t", same, known)
	}
	if _, known := r.Feed.Settle(replica.Digest{Sequence: 1 << 40}); known {
		t.Error("knows what is to come")
	}
	r.Feed.Rewind()
	r.Begin(l)
	r.Must(r.Read(l))
	if !r.Refuses("old1") {
		t.Error("what the damaged server had lost is not refused")
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
		r, l := tape.NewReader(t, revoke.Config{}), &tape.Log{}
		l.Revoke(r.Now.Time(), "x")
		info := l.Info()
		info.Time, info.Mirror = r.Now.Time(), true
		r.Sub = r.Feed.Begin(r.Now, info)
		r.Must(r.Read(l))
		r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
		r.Sub = r.Feed.Begin(r.Now, info) // anchored: no heartbeat is why it is not fresh
		r.Pos, r.N = r.Sub.Start-1, 0
		r.OtherBeat(l, c.off)
		r.Pass(c.late)
		r.Must(r.Read(l))
		if got := r.List.Status(r.Now).Reason; got != c.want {
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
			origin, l := tape.Ready(t)
			r := tape.NewReader(t, revoke.Config{MaxStaleness: staleness, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
			r.Now = origin.Now
			for range 2 { // it is said once
				if mirror {
					r.Mirror(l)
				} else {
					r.Begin(l)
				}
			}
			r.Must(r.Read(l))
			if got, want := strings.Count(logged.String(), "behind a mirror MaxStaleness"), map[bool]int{true: 1}[short && mirror]; got != want {
				t.Errorf("%s, mirror %t: warned %d times, want %d", staleness, mirror, got, want)
			}
			stale := false
			for i := range 100 {
				d := origin.Feed.Digest()
				origin.DigestBeat(l, &d)
				for tenth := range 20 {
					if tenth == 5 {
						origin.Must(origin.Read(l))
						r.Must(r.Read(l))
					}
					r.Pass(100 * time.Millisecond)
					origin.Pass(100 * time.Millisecond)
					stale = stale || i > 4 && r.List.Status(r.Now).State != revoke.StateFresh
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
		origin, l := tape.Ready(t)
		fork := &tape.Log{Seq: l.Seq, Messages: slices.Clone(l.Messages)} // will lack one event
		m, forked := tape.NewReader(t, revoke.Config{}), tape.NewReader(t, revoke.Config{})
		m.Now, forked.Now = origin.Now, origin.Now
		m.Mirror(l)
		m.Must(m.Read(l))
		forked.Mirror(fork)
		forked.Must(forked.Read(fork))
		const joins = 900
		var late *tape.Reader
		said := 0
		for i := range joins + 400 {
			for _, r := range []*tape.Reader{origin, m, forked} {
				r.Pass(time.Second)
			}
			if late != nil {
				late.Pass(time.Second)
			}
			if i == joins {
				late = tape.NewReader(t, revoke.Config{})
				late.Now = m.Now
				left := *l
				left.Messages = slices.DeleteFunc(slices.Clone(l.Messages), func(x tape.Message) bool { return x.Life > 0 && !x.Time.Add(x.Life).After(m.Now.Time()) })
				late.Mirror(&left)
				late.Must(late.Read(&left))
			}
			if i == 400 {
				l.Append(m.Now.Time().Add(-behind), tape.Message{Event: &revoke.Event{Issuer: tape.Issuer, Kind: revoke.KindToken, Value: "withheld", Until: m.Now.Time().Add(time.Hour)}})
			}
			d := origin.Feed.Digest()
			if d != (replica.Digest{}) {
				said++
			}
			hb := replica.Heartbeat{Time: m.Now.Time(), Name: "other", Digest: &d}
			rand.Read(hb.Nonce[:])
			from := len(l.Messages)
			l.Append(m.Now.Time().Add(-behind), tape.Message{Beat: &hb, Life: 15 * time.Minute})
			for _, message := range l.Messages[from:] {
				fork.Seq, fork.Messages = l.Seq, append(fork.Messages, message)
			}
			origin.Must(origin.Read(l))
			m.Must(m.Read(l))
			forked.Must(forked.Read(fork))
			if late != nil {
				late.Must(late.Read(l))
			}
			if i > 20 && time.Duration(i)*time.Second > behind { // until then something that counts may have expired before it was read
				m.Is(revoke.StateFresh, fmt.Sprintf("behind by %s, after %d s", behind, i))
				if i < 400 {
					forked.Is(revoke.StateFresh, fmt.Sprintf("before the fork, behind by %s, after %d s", behind, i))
				}
			}
			if i > 420 {
				forked.Is(revoke.StateStale, fmt.Sprintf("a fork, behind by %s, after %d s", behind, i))
			}
		}
		late.Is(revoke.StateFresh, fmt.Sprintf("joined late, behind by %s", behind))
		if said < joins || m.Stats().Disputed+late.Stats().Disputed != 0 {
			t.Errorf("behind by %s: %d digests sent, %d disputed, %d of who joins", behind, said, m.Stats().Disputed, late.Stats().Disputed)
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
		origin, l := tape.Ready(t)
		r := tape.NewReader(t, revoke.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		r.Now = origin.Now
		begin := func() {
			if r.Begin(l); c.mirror {
				r.Mirror(l)
			}
			r.Must(r.Read(l))
		}
		begin()
		for i := range 300 {
			both(r, origin, l, c.says)
			if i > 5 {
				r.Is(revoke.StateFresh, c.name)
			}
			if i < 30 && logged.Len() > 0 && strings.Contains(logged.String(), "no heartbeat carries a digest") {
				t.Fatalf("%s: logged after %d s, when the first may be on its way", c.name, i)
			}
			if i == 150 { // a new subscription is no news
				r.Feed.Broken(r.Now, revoke.ReasonDisconnected)
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
	m.Is(revoke.StateFresh, "with digests")
	for range 20 {
		both(m, origin, l, nothing)
	}
	m.Is(revoke.StateStale, "without digests")
	m.Feed.Judge(m.Now, l.Info())
	both(m, origin, l, nothing)
	m.Is(revoke.StateFresh, "promoted")
}
