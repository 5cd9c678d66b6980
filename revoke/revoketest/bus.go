package revoketest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Config configures a [Bus].
type Config struct {
	// Retention of the log. Zero values mean those of [revoke.DefaultRetention]. Members whose
	// MaxSkew is another are not fresh.
	Retention revoke.Retention

	// Sleep, if set, is what [Bus.Advance] lets time pass by, and the bus takes its
	// time from time.Now: for use in a testing/synctest bubble, where it is
	// time.Sleep. Nil means a time of the bus's own.
	Sleep func(time.Duration)

	// Seed decides what members leave to chance. With a Seed and without Sleep a bus
	// that is told the same does the same, at the same times: a history that went wrong
	// can be lived through again. Zero means another chance each time, and a time that
	// starts now.
	Seed uint64
}

// A Bus is a revocation bus in memory: one totally ordered log, the members that read
// it, and perhaps a mirror of it with members of its own. It is not safe for concurrent
// use.
type Bus struct {
	cfg        Config
	base       revoke.Instant // where the bus's own time starts
	chance     *rand.Rand
	passed     time.Duration
	skew       time.Duration // of the log server's clock
	log        []entry
	seq        uint64
	published  uint64
	nextExpiry time.Duration // when to look for messages that have expired
	members    []*Member
	mirror     *mirror // nil: none
	history    history
}

// An entry is one message of the log.
type entry struct {
	seq     uint64
	time    time.Time // by the server's clock
	expires time.Duration
	life    time.Duration // as its publisher set it
	event   *revoke.Event
	beat    *replica.Heartbeat
	says    []byte // what the one or the other says
}

// record returns where e stands in the log.
func (e *entry) record() replica.Record {
	return replica.Record{Sequence: e.seq, Time: e.time, Life: e.life, Data: e.says}
}

func (e *entry) text() []byte {
	if e.event != nil {
		return fmt.Appendf(nil, "%#v", *e.event)
	}
	beat := *e.beat
	beat.Digest = nil // a pointer, which is never the same
	var digest replica.Digest
	if e.beat.Digest != nil {
		digest = *e.beat.Digest
	}
	return fmt.Appendf(nil, "%#v %x", beat, digest)
}

// NewBus returns a Bus with an empty log.
func NewBus(cfg Config) *Bus {
	def := revoke.DefaultRetention()
	if cfg.Retention.TokenLifetime == 0 {
		cfg.Retention.TokenLifetime = def.TokenLifetime
	}
	if cfg.Retention.SessionLifetime == 0 {
		cfg.Retention.SessionLifetime = def.SessionLifetime
	}
	if cfg.Retention.MaxSkew == 0 {
		cfg.Retention.MaxSkew = def.MaxSkew
	}
	b := &Bus{cfg: cfg, base: revoke.Now()}
	if cfg.Seed == 0 {
		b.chance = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		return b
	}
	b.chance = rand.New(rand.NewPCG(cfg.Seed, 0))
	if cfg.Sleep == nil {
		b.base = revoke.Instant{Wall: 1_800_000_000_123_456_789, Mono: int64(time.Hour)}
	}
	return b
}

// elapsed is the true time since the bus was made.
func (b *Bus) elapsed() time.Duration {
	if b.cfg.Sleep != nil {
		return time.Duration(revoke.Now().Mono - b.base.Mono)
	}
	return b.passed
}

// Now returns the true time: that of a clock which is right and never stops.
func (b *Bus) Now() time.Time { return b.base.Time().Add(b.elapsed()) }

// tick is the step in which time passes, short beside every interval of the protocol.
const tick = 100 * time.Millisecond

// Advance lets time pass and the members work.
func (b *Bus) Advance(d time.Duration) {
	for d > 0 {
		step := min(d, tick)
		if b.cfg.Sleep != nil {
			b.cfg.Sleep(step)
		} else {
			b.passed += step
		}
		d -= step
		b.Settle()
	}
}

// Settle lets every member that is up do what is due now, without letting time pass.
func (b *Bus) Settle() {
	b.expire()
	b.mirror.take(b.log)
	for range 2 { // a heartbeat sent in the first round is read in the second
		for _, m := range b.members {
			m.work()
		}
		b.mirror.take(b.log)
	}
}

// expire drops what the log no longer holds.
func (b *Bus) expire() {
	now := b.elapsed()
	if now < b.nextExpiry {
		return
	}
	b.nextExpiry = now + time.Second
	expired := func(e entry) bool { return e.expires <= now }
	b.log = slices.DeleteFunc(b.log, expired)
	if b.mirror != nil {
		b.mirror.log = slices.DeleteFunc(b.mirror.log, expired)
	}
}

// Publish completes e as a publisher whose clock is right does, with an ID of its own
// if it has none, and appends it to the log. The event counts as acknowledged from now on.
func (b *Bus) Publish(e revoke.Event) (revoke.Event, error) {
	open := e.Before.IsZero() && e.Kind.Cutoff()
	e, err := e.Complete(b.Now(), b.cfg.Retention)
	if err != nil {
		return e, err
	}
	b.published++
	if e.ID == "" {
		// No two are the same to the letter, not even in the place of one that was lost:
		// an anchor tells messages apart by nothing else.
		e.ID = strconv.FormatUint(b.published, 10)
	}
	b.append(entry{event: &e}, e.Until.Sub(b.Now())+revoke.StreamMargin)
	must := e
	if open { // worked out anew: what replicas apply does not judge itself
		must.Before = b.Now().Add(2*b.cfg.Retention.MaxSkew + time.Millisecond - 1).Truncate(time.Millisecond) // up, as documented
	}
	b.history.publish(b.elapsed(), b.seq, must)
	return e, nil
}

func (b *Bus) append(e entry, life time.Duration) {
	b.seq++
	e.expires, e.life = b.elapsed()+life, life
	e.seq, e.time = b.seq, b.Now().Add(b.skew).Truncate(time.Nanosecond)
	e.says = e.text()
	b.log = append(b.log, e)
}

// SetSkew sets how far the log server's clock runs ahead.
func (b *Bus) SetSkew(d time.Duration) { b.skew = d }

// Restart restarts the log server: every connection to it breaks, nothing is lost.
func (b *Bus) Restart() { b.disconnect(false) }

func (b *Bus) disconnect(mirrored bool) {
	for _, m := range b.members {
		if m.mirrored == mirrored {
			m.disconnect()
		}
	}
}

// Rollback restores the log as it was n messages ago, as a disk restored from a
// backup does, and restarts the server. What is lost is no longer held against
// replicas that had not applied it. A mirror keeps what it has, and goes on when the
// log is longer again.
func (b *Bus) Rollback(n int) {
	n = min(max(n, 0), len(b.log))
	b.log = b.log[:len(b.log)-n]
	b.seq = 0
	if len(b.log) > 0 {
		b.seq = b.log[len(b.log)-1].seq
	}
	b.history.lost(b.seq)
	b.Restart()
}

// Recreate makes the log anew, empty, and restarts the server. A mirror keeps what it
// has, and goes on when the log is longer again.
func (b *Bus) Recreate() {
	b.log, b.seq = nil, 0
	b.history.lost(0)
	b.Restart()
}

// Heal undoes every fault of links, clocks and members, and makes the mirror anew.
func (b *Bus) Heal() {
	b.skew = 0
	b.RemakeMirror()
	for _, m := range b.members {
		m.Heal()
		m.Resume()
		m.SetSkew(0)
	}
}

// Violations returns what [Member.Check] found to be wrong so far, or nil.
func (b *Bus) Violations() error { return errors.Join(b.history.violations...) }
