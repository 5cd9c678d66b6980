package revoketest

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// deadAfter is how long a member takes to notice that its link is dead.
const deadAfter = 4 * time.Second

// A Member is one replica and its link to the log.
type Member struct {
	bus  *Bus
	cfg  revoke.Config
	list *revoke.List
	feed *replica.Feed

	skew      time.Duration // of its wall clock
	asleep    time.Duration // for how long its monotonic clock stood still, in all
	sleeps    bool
	sleptAt   time.Duration
	quiet     bool // sends no heartbeats
	mirrored  bool // reads the mirror
	noDigest  bool // its heartbeats do not say what it holds
	cut       bool
	cutAt     time.Duration
	isolated  bool   // connected to a server that sees nothing new
	retention uint64 // the last sequence that server has
	frozen    []entry
	delay     time.Duration // each way
	rng       *rand.Rand
	drop, dup int // deliveries to drop, to duplicate
	reorder   int

	sub        replica.Subscription
	up         bool // subscribed
	pos        uint64
	sent       uint64 // deliveries numbered
	pending    []delivery
	firstBy    time.Duration // an anchored subscription's first record is due
	second     bool          // the log is to be read a second time
	secondFrom uint64
	applied    bool         // something of this subscription arrived
	learned    map[int]bool // events, by their place in the history, that it has refused
}

type delivery struct {
	at  time.Duration
	gen uint64
	n   uint64
	e   entry
}

// Join adds a member with a List of that configuration, following the log.
func (b *Bus) Join(cfg revoke.Config) (*Member, error) {
	m := &Member{bus: b, cfg: cfg, learned: map[int]bool{}, rng: rand.New(rand.NewPCG(b.chance.Uint64(), b.chance.Uint64()))}
	if err := m.start(); err != nil {
		return nil, err
	}
	b.members = append(b.members, m)
	return m, nil
}

func (m *Member) start() error {
	list, err := revoke.NewList(m.cfg)
	if err != nil {
		return err
	}
	feed, err := replica.NewFeed(list)
	if err != nil {
		return err
	}
	feed.Attest()
	m.list, m.feed, m.up, m.pending, m.learned = list, feed, false, nil, map[int]bool{}
	return nil
}

// List returns the member's replica. After [Member.Restart] it is another.
func (m *Member) List() *revoke.List { return m.list }

// Now reads the member's own clocks.
func (m *Member) Now() revoke.Instant {
	t := m.bus.elapsed()
	stood := m.asleep
	if m.sleeps {
		stood += t - m.sleptAt
	}
	return revoke.Instant{Wall: m.bus.base.Wall + int64(t+m.skew), Mono: m.bus.base.Mono + int64(t-stood)}
}

// Check asks the replica at this instant, and has the bus's checker hold the answer
// against what was acknowledged; see [Bus.Violations].
func (m *Member) Check(id revoke.Identity, p revoke.Policy) error {
	now := m.Now()
	s := m.list.Status(now)
	err := m.list.Check(now, &id, p)
	m.bus.history.check(m, s, id, p, err)
	return err
}

// Status returns the replica's freshness at this instant.
func (m *Member) Status() revoke.Status { return m.list.Status(m.Now()) }

// SetSkew sets how far the member's wall clock runs ahead.
func (m *Member) SetSkew(d time.Duration) { m.skew = d }

// Silence keeps the member from sending heartbeats, or lets it again.
func (m *Member) Silence(on bool) { m.quiet = on }

// NoDigest has the member's heartbeats say nothing of the log that it holds, as those of a
// version before digests do.
func (m *Member) NoDigest() { m.noDigest = true }

// Delay sets how long a message takes each way.
func (m *Member) Delay(d time.Duration) { m.delay = d }

// Drop loses the next n deliveries in flight, unnoticed by the transport.
func (m *Member) Drop(n int) { m.drop += n }

// Duplicate delivers the next n messages twice.
func (m *Member) Duplicate(n int) { m.dup += n }

// Reorder swaps the next n deliveries with their successors.
func (m *Member) Reorder(n int) { m.reorder += n }

// Partition cuts the link. The member notices after some seconds.
func (m *Member) Partition() {
	if !m.cut {
		m.cut, m.cutAt = true, m.bus.elapsed()
	}
}

// Isolate leaves the member connected to a server that is cut off from the others:
// it answers, and sees nothing new.
func (m *Member) Isolate() {
	if !m.isolated {
		log, seq := m.source()
		m.isolated, m.retention, m.frozen = true, seq, slices.Clone(log)
	}
}

// Heal mends the link.
func (m *Member) Heal() {
	m.cut, m.delay, m.drop, m.dup, m.reorder = false, 0, 0, 0, 0
	if m.isolated {
		m.isolated, m.frozen = false, nil
		m.disconnect()
	}
}

// Suspend puts the member's machine to sleep: its monotonic clock stands still.
func (m *Member) Suspend() {
	if !m.sleeps {
		m.sleeps, m.sleptAt = true, m.bus.elapsed()
	}
}

// Resume wakes it.
func (m *Member) Resume() {
	if m.sleeps {
		m.asleep += m.bus.elapsed() - m.sleptAt
		m.sleeps = false
	}
}

// Restart restarts the member's process, which has forgotten everything.
func (m *Member) Restart() error { return m.start() }

func (m *Member) disconnect() {
	if m.up {
		m.up = false
		m.pending = nil
		m.feed.Broken(m.Now(), revoke.ReasonDisconnected)
	}
}

// source is what the member's server holds, and its last sequence.
func (m *Member) source() ([]entry, uint64) {
	switch {
	case m.isolated:
		return m.frozen, m.retention
	case m.mirrored:
		return m.bus.mirror.log, m.bus.mirror.seq
	}
	return m.bus.log, m.bus.seq
}

// work does what is due: it is what a transport does around a Feed.
func (m *Member) work() {
	if m.sleeps {
		return
	}
	t := m.bus.elapsed()
	if m.cut {
		if t-m.cutAt >= deadAfter {
			m.disconnect()
		} else {
			m.beat() // into the void
		}
		return
	}
	if !m.up {
		m.begin(t)
	}
	m.fetch(t)
	m.receive(t)
	if m.up && m.sub.Anchored && !m.applied && t >= m.firstBy {
		m.up = false
		m.feed.Broken(m.Now(), revoke.ReasonRebuilding)
	}
	m.doubt()
	m.beat()
}

// doubt reads the log a second time where the feed asks for it.
func (m *Member) doubt() {
	if !m.up {
		return
	}
	if from, ok := m.feed.Doubt(m.Now()); ok {
		m.second, m.secondFrom = true, from
	}
	if !m.second {
		return
	}
	var digest replica.LogDigest
	log, _ := m.source()
	for _, e := range log {
		r := e.record()
		digest.Add(&r)
		if e.beat == nil || e.seq < m.secondFrom || !digest.Whole(&r, m.bus.Now().Add(m.bus.skew)) {
			continue
		}
		if same, known := m.feed.Settle(digest.At(&r)); known {
			m.second = false
			if !same {
				m.disconnect()
				m.feed.Rewind()
			}
			return
		}
	}
}

func (m *Member) begin(t time.Duration) {
	_, last := m.source()
	info := replica.LogInfo{Retention: m.bus.cfg.Retention, LastSequence: last, Time: m.bus.Now().Add(m.bus.skew), Mirror: m.mirrored}
	m.sub = m.feed.Begin(m.Now(), info)
	m.up, m.applied, m.second = true, false, false
	m.pos, m.sent, m.pending = m.sub.Start-1, 0, nil
	m.firstBy = t + replica.AnchorTimeout
}

// fetch puts what the server has beyond pos into flight.
func (m *Member) fetch(t time.Duration) {
	if !m.up {
		return
	}
	view, _ := m.source()
	from, _ := slices.BinarySearchFunc(view, m.pos+1, func(e entry, seq uint64) int { return cmp.Compare(e.seq, seq) })
	for _, e := range view[from:] {
		m.pos = e.seq
		m.sent++
		d := delivery{t + m.delay, m.sub.Generation, m.sent, e}
		switch {
		case m.drop > 0:
			m.drop--
			continue
		case m.dup > 0:
			m.dup--
			m.pending = append(m.pending, d)
		}
		m.pending = append(m.pending, d)
		if n := len(m.pending); m.reorder > 0 && n > 1 {
			m.reorder--
			m.pending[n-1], m.pending[n-2] = m.pending[n-2], m.pending[n-1]
		}
	}
}

// receive hands over what has arrived.
func (m *Member) receive(t time.Duration) {
	for len(m.pending) > 0 && m.pending[0].at <= t {
		d := m.pending[0]
		m.pending = m.pending[1:]
		r := d.e.record()
		r.Generation, r.Delivery = d.gen, d.n
		var err error
		if d.e.event != nil {
			err = m.feed.Event(m.Now(), r, *d.e.event)
		} else {
			err = m.feed.Heartbeat(m.Now(), r, *d.e.beat)
		}
		m.applied = true
		if errors.Is(err, replica.ErrGap) || errors.Is(err, replica.ErrAnchor) {
			m.up, m.pending = false, nil
			return
		}
	}
}

// beat sends a heartbeat that is due. On its way it is lost if the link is cut, and
// never committed if the server is isolated.
func (m *Member) beat() {
	if m.quiet || m.feed.BeatIn(m.Now()) > 0 {
		return
	}
	hb := replica.Heartbeat{Time: m.Now().Time(), Name: "member"}
	for i := range hb.Nonce {
		hb.Nonce[i] = byte(m.rng.Uint32())
	}
	if digest := m.feed.Digest(); !m.noDigest {
		hb.Digest = &digest
	}
	m.feed.Sent(m.Now(), hb.Nonce)
	if m.cut || m.isolated {
		return
	}
	m.bus.append(entry{beat: &hb}, 15*time.Minute)
}
