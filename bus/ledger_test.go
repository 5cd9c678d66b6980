package bus

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// newTestPublisher has a closed Bus, so that nothing is republished behind the test.
func newTestPublisher() *publisher {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := &core{log: logger(nil), ctx: ctx, cancel: cancel, closed: true}
	b.publisher.b = b
	return &b.publisher
}

func living1h(i int) *record {
	return &record{subject: "s", payload: []byte(fmt.Sprint(i)), gone: time.Now().Add(time.Hour + time.Duration(i)*time.Second)}
}

func ack(seq uint64, duplicate bool) *jetstream.PubAck {
	return &jetstream.PubAck{Stream: DefaultStream, Sequence: seq, Duplicate: duplicate}
}

// Invariant 9: an acknowledgement that a stream with a memory could not have given
// is no success.
func TestAcknowledged(t *testing.T) {
	for _, tt := range []struct {
		name         string
		floor, seq   uint64
		dup, retried bool
		ok           bool
		losses       uint64
		highestAfter uint64
	}{
		{name: "first of all", floor: 0, seq: 1, ok: true, highestAfter: 1},
		{name: "next", floor: 10, seq: 11, ok: true, highestAfter: 11},
		{name: "duplicate of a retry", floor: 10, seq: 11, dup: true, retried: true, ok: true, highestAfter: 11},
		{name: "duplicate on a first try", floor: 10, seq: 11, dup: true, losses: 1, highestAfter: 11},
		{name: "the highest again", floor: 10, seq: 10, losses: 1, highestAfter: 10},
		{name: "lower", floor: 10, seq: 3, losses: 1, highestAfter: 3},
		{name: "lower, retried", floor: 10, seq: 3, dup: true, retried: true, losses: 1, highestAfter: 3},
	} {
		p := newTestPublisher()
		p.ledger.highest = tt.floor
		floor, era := p.ledger.begin()
		if got := p.acknowledged(living1h(0), ack(tt.seq, tt.dup), tt.retried, floor, era); got != tt.ok {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.ok)
		}
		if p.ledger.stats.Losses != tt.losses || p.ledger.highest != tt.highestAfter {
			t.Errorf("%s: %d losses, highest %d; want %d, %d", tt.name, p.ledger.stats.Losses, p.ledger.highest, tt.losses, tt.highestAfter)
		}
	}
}

// Acknowledgements of concurrent calls arrive in any order; that is no loss. And
// one loss is found once, anyone who else was under way.
func TestAcknowledgedConcurrently(t *testing.T) {
	p := newTestPublisher()
	type call struct {
		rec        *record
		floor, era uint64
	}
	begin := func(i int) call {
		floor, era := p.ledger.begin()
		return call{living1h(i), floor, era}
	}
	end := func(c call, seq uint64) bool { return p.acknowledged(c.rec, ack(seq, false), false, c.floor, c.era) }

	a, b := begin(1), begin(2)
	if !end(b, 102) || !end(a, 101) {
		t.Fatal("out of order is taken for a loss")
	}
	// The stream is made anew while three are under way.
	a, b, c := begin(3), begin(4), begin(5)
	if end(a, 1) || end(b, 2) {
		t.Error("what may be lost is taken for acknowledged")
	}
	if end(c, 103) { // stored before the loss, its answer was late
		t.Error("an acknowledgement of the era before is believed")
	}
	if p.ledger.stats.Losses != 1 {
		t.Errorf("%d losses, want 1", p.ledger.stats.Losses)
	}
	list, _, _ := p.ledger.pending(time.Now())
	if got := len(list); got != 2 {
		t.Errorf("%d to republish, want the 2 of the era before", got)
	}
	a = begin(3)
	if !end(a, 3) || p.ledger.stats.Losses != 1 {
		t.Error("the new era does not settle")
	}
}

func TestRemember(t *testing.T) {
	var l ledger
	now := time.Now()
	for i := range maxRemembered + 10 {
		l.remember(living1h(i), now)
	}
	if len(l.alive) != maxRemembered || l.stats.Forgotten != 10 {
		t.Errorf("%d remembered, %d forgotten", len(l.alive), l.stats.Forgotten)
	}
	if first := string(l.alive[0].payload); first != "10" {
		t.Errorf("the soonest to expire is %s, want 10: the others should have been dropped", first)
	}
	// Bounded in bytes too.
	big := living1h(1 << 20)
	big.payload = make([]byte, maxRememberedBytes/2)
	l.remember(big, now)
	if l.bytes > maxRememberedBytes || !big.kept {
		t.Errorf("%d bytes remembered, big one kept: %v", l.bytes, big.kept)
	}
	// What has expired makes room uncounted.
	forgotten := l.stats.Forgotten
	l.remember(living1h(2<<20), now.Add(100*24*time.Hour))
	if l.stats.Forgotten != forgotten || len(l.alive) != 0 || l.bytes != 0 {
		t.Errorf("%d alive, %d bytes, %d more forgotten", len(l.alive), l.bytes, l.stats.Forgotten-forgotten)
	}
}

func TestTTL(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		time.Minute:                   time.Minute,
		time.Minute + 1:               time.Minute + time.Second,
		time.Minute - time.Nanosecond: time.Minute,
		1:                             time.Second,
		0:                             time.Second,
		-time.Hour:                    time.Second,
		3 * time.Hour:                 3 * time.Hour,
		// What counts in digests by the hour or the day lives longer by as much.
		24 * time.Hour:                   25*time.Hour - time.Minute,
		71*time.Hour + time.Minute:       72 * time.Hour,
		71*time.Hour + time.Minute + 1:   71*time.Hour + time.Second + 24*time.Hour, // by the day, with an hour more
		90*24*time.Hour + 15*time.Minute: 91*24*time.Hour + 14*time.Minute,
	} {
		if got := ttl(d); got != want {
			t.Errorf("ttl(%s) = %s, want %s", d, got, want)
		}
	}
}

// Nobody can know a message id in advance, not even who knows the event.
func TestMessageID(t *testing.T) {
	rec := living1h(1)
	if a, b := messageID(rec), messageID(rec); a == b || len(a) != 64 {
		t.Errorf("message ids %s, %s", a, b)
	}
}

func TestHazards(t *testing.T) {
	good, err := StreamConfig{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if bad := hazards(good); len(bad) > 0 {
		t.Errorf("our own stream: %q", bad)
	}
	if h, err := retention(good.Metadata); err != nil || h.TokenLifetime != time.Hour || h.SessionLifetime != 90*24*time.Hour {
		t.Errorf("retention %v, %v", h, err)
	}
	for name, spoil := range map[string]func(c *jetstream.StreamConfig){
		"subjects":  func(c *jetstream.StreamConfig) { c.Subjects = []string{"revocations.v1.*"} },
		"retention": func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"discard":   func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"bytes":     func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
		"age":       func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"messages":  func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 30 },
		"last":      func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"ttl":       func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false },
		"markers":   func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Minute },
		"delete":    func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"purge":     func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"rollup":    func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"ack":       func(c *jetstream.StreamConfig) { c.NoAck = true },
		"transform": func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"counter":   func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"sources":   func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
	} {
		c := good
		spoil(&c)
		if bad := hazards(c); len(bad) != 1 {
			t.Errorf("%s: %q", name, bad)
		}
	}
}

// A stream of the version before says nothing of clocks, which means 2 s; it is the stream
// that CreateStream makes by default, and no other.
func TestMaxSkewOfStreams(t *testing.T) {
	made := func(skew time.Duration) jetstream.StreamConfig {
		c, err := StreamConfig{Retention: revoke.Retention{MaxSkew: skew}}.resolve()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	older := made(0)
	delete(older.Metadata, metaMaxSkew)
	if h, err := retention(older.Metadata); err != nil || h.MaxSkew != 2*time.Second {
		t.Errorf("an older stream: %v, %v", h, err)
	}
	if d := differences(older, made(2*time.Second)); len(d) != 0 {
		t.Errorf("an older stream is the default one, but for %q", d)
	}
	if d := differences(older, made(10*time.Second)); len(d) != 1 || !strings.Contains(d[0], metaMaxSkew) {
		t.Errorf("an older stream and one for 10 s: %q", d)
	}
	for _, skew := range []time.Duration{time.Millisecond, 500 * time.Millisecond, 10 * time.Second, revoke.MaxSkewLimit} {
		if h, err := retention(made(skew).Metadata); err != nil || h.MaxSkew != skew {
			t.Errorf("made for %s: %v, %v", skew, h, err)
		}
	}
	for _, skew := range []time.Duration{-1, 1, 1500 * time.Microsecond, revoke.MaxSkewLimit + time.Millisecond} {
		if _, err := (StreamConfig{Retention: revoke.Retention{MaxSkew: skew}}).resolve(); err == nil || !strings.Contains(err.Error(), "Retention.MaxSkew") {
			t.Errorf("%s: %v", skew, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "2s", "120001", "1e3", "99999999999999999999"} {
		c := made(0)
		c.Metadata[metaMaxSkew] = text
		if _, err := retention(c.Metadata); err == nil || !strings.Contains(err.Error(), metaMaxSkew) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What a stream's metadata loses or lowers is a hazard, and publishers go on by the
// largest that they have read; a stream made anew is another stream.
func TestRetentionThatShrink(t *testing.T) {
	var s fixed
	at := time.Now()
	h := revoke.Retention{TokenLifetime: time.Hour, SessionLifetime: 24 * time.Hour, MaxSkew: 10 * time.Second}
	if got, bad := s.shrunk(at, h); got != h || len(bad) != 0 {
		t.Errorf("%v, %q", got, bad)
	}
	for key, lower := range map[string]func(h *revoke.Retention){
		metaTokenLifetime:   func(h *revoke.Retention) { h.TokenLifetime = time.Minute },
		metaSessionLifetime: func(h *revoke.Retention) { h.SessionLifetime = time.Hour },
		metaMaxSkew:         func(h *revoke.Retention) { h.MaxSkew = 2 * time.Second },
	} {
		less := h
		lower(&less)
		if got, bad := s.shrunk(at, less); got != h || len(bad) != 1 || !strings.Contains(bad[0], key) {
			t.Errorf("%s: %v, %q", key, got, bad)
		}
		if got, bad := s.shrunk(at, h); got != h || len(bad) != 0 {
			t.Errorf("%s, mended: %v, %q", key, got, bad)
		}
	}
	if got, bad := s.shrunk(at, revoke.Retention{}); got != h || len(bad) != 0 {
		t.Errorf("unreadable, which is a hazard by itself: %v, %q", got, bad)
	}
	anew := revoke.DefaultRetention()
	if got, bad := s.shrunk(at.Add(1), anew); got != anew || len(bad) != 0 {
		t.Errorf("made anew: %v, %q", got, bad)
	}
}

// A mirror that lacks some of its origin shows heartbeats all the same, and with them
// looks complete (invariant 1).
func TestHazardsOfMirrors(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		mirror jetstream.StreamSource
		bad    int
	}{
		"whole":           {jetstream.StreamSource{}, 0},
		"whole by name":   {jetstream.StreamSource{FilterSubject: streamSubjects, OptStartSeq: 1}, 0},
		"everything":      {jetstream.StreamSource{FilterSubject: ">"}, 0},
		"from a sequence": {jetstream.StreamSource{OptStartSeq: 2}, 1},
		"from a time":     {jetstream.StreamSource{OptStartTime: &now}, 1},
		"one subject":     {jetstream.StreamSource{FilterSubject: HeartbeatSubject}, 1},
		"some subjects":   {jetstream.StreamSource{SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: HeartbeatSubject, Destination: HeartbeatSubject}}}, 1},
	} {
		config, err := StreamConfig{}.resolve()
		if err != nil {
			t.Fatal(err)
		}
		config.Subjects, config.Mirror = nil, &c.mirror
		if bad := hazards(config); len(bad) != c.bad {
			t.Errorf("%s: %q", name, bad)
		}
	}
}

// CreateStream calls nothing the same that differs in a way that matters.
func TestDifferences(t *testing.T) {
	want, err := StreamConfig{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	same := want
	same.Description, same.Compression = "ours", jetstream.S2Compression
	if diff := differences(same, want); len(diff) > 0 {
		t.Errorf("the same: %q", diff)
	}
	for name, change := range map[string]func(c *jetstream.StreamConfig){
		"subjects":          func(c *jetstream.StreamConfig) { c.Subjects = []string{streamSubjects, "other.>"} },
		"mirror":            func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "ORIGIN"} },
		"sources":           func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
		"max consumers":     func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 },
		"consumer limits":   func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second },
		"republish":         func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Destination: "leak.>"} },
		"duplicate window":  func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond },
		"first sequence":    func(c *jetstream.StreamConfig) { c.FirstSeq = 1000 },
		"message schedules": func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true },
		"max message size":  func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 },
		"persist mode":      func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"replicas":          func(c *jetstream.StreamConfig) { c.Replicas = 1 },
	} {
		c := want
		change(&c)
		if diff := differences(c, want); len(diff) != 1 || !strings.HasPrefix(diff[0], name) {
			t.Errorf("%s: %q", name, diff)
		}
	}
}

func TestWeaknesses(t *testing.T) {
	good, err := StreamConfig{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if weak := weaknesses(good); len(weak) > 0 {
		t.Errorf("our own stream: %q", weak)
	}
	for name, spoil := range map[string]func(c *jetstream.StreamConfig){
		"memory":          func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"replicas":        func(c *jetstream.StreamConfig) { c.Replicas = 2 },
		"persisted later": func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"small messages":  func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 10 },
		"huge messages":   func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 },
		"any messages":    func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 },
		"max consumers":   func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 },
		"consumer limits": func(c *jetstream.StreamConfig) { c.ConsumerLimits.MaxAckPending = 1 },
	} {
		c := good
		spoil(&c)
		if weak := weaknesses(c); len(weak) != 1 {
			t.Errorf("%s: %q", name, weak)
		}
	}
}

func TestStreamConfigRefused(t *testing.T) {
	for _, cfg := range []StreamConfig{
		{Name: "a.b"}, {Name: "a b"}, {Name: "a*"},
		{Replicas: -1}, {Replicas: 6},
		{MaxBytes: -1}, {MaxBytes: minMaxBytes - 1},
	} {
		if _, err := cfg.resolve(); err == nil {
			t.Errorf("%+v accepted", cfg)
		}
	}
	for _, d := range []time.Duration{-1, time.Millisecond, time.Hour + 1, 20 * 366 * 24 * time.Hour} {
		cfg := StreamConfig{}
		cfg.Retention.TokenLifetime = d
		if _, err := cfg.resolve(); err == nil {
			t.Errorf("TokenLifetime %s accepted", d)
		}
	}
}

// A server that goes on telling of losses that are none has everything republished
// ever more seldom, and a doubt that has to wait is not forgotten.
func TestDoubts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTestPublisher()
		losses := func() uint64 { return p.ledger.stats.Losses }
		_, stale := p.ledger.begin()
		for range 24 * 60 * 2 { // a day
			_, era := p.ledger.begin()
			p.doubt(era)
			time.Sleep(30 * time.Second)
		}
		if n := losses(); n < 5 || n > 12 {
			t.Errorf("%d republications in a day", n)
		}
		time.Sleep(24 * time.Hour) // of quiet
		before := losses()
		_, era := p.ledger.begin()
		p.doubt(era)
		p.doubt(era) // of the same era: the same loss
		if n := losses() - before; n != 1 {
			t.Fatalf("%d losses after a quiet day, want 1", n)
		}
		_, era = p.ledger.begin()
		p.doubt(era)
		if losses()-before != 1 || !p.ledger.doubted {
			t.Error("a doubt at once after another has effect, or is forgotten")
		}
		p.doubt(stale)
		time.Sleep(2 * firstDoubtPause)
		p.doubt(era)
		if losses()-before != 2 || p.ledger.doubted {
			t.Error("a doubt that waited has no effect")
		}
	})
}
