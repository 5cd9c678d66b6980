package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
)

// A behaviour is what versions of nats-server do differently, of all that our tests state.
// Each difference is asserted in both directions, so that a server that changes is noticed.
type behaviour struct {
	// A message whose reply subject lies below $JS.API is refused, whatever rights its
	// sender has. Others deliver it, and have the answer pass for a request.
	refusesAPIReplies bool
}

// behaviours holds one line for each version that tests run against: that of go.mod, which
// is linked into them, and those of the directory servers. See docs/servers.md.
var behaviours = map[string]behaviour{
	"2.11.17": {},
	"2.12.15": {},
	"2.14.10": {refusesAPIReplies: true},
	"2.15.2":  {},
	"2.15.3":  {refusesAPIReplies: true},
}

func (b *broker) behaviour() behaviour {
	b.t.Helper()
	known, ok := behaviours[b.version]
	if !ok {
		b.t.Fatalf("nats-server %s is in no line of the table of behaviours, which has %q", b.version, slices.Sorted(maps.Keys(behaviours)))
	}
	return known
}

// What package bus relies on in the server that keeps the stream.
func TestServerKeepsTheLog(t *testing.T) {
	br := newBroker(t, nil)
	br.behaviour()
	createStream(t, dial(t, br.url()), bus.StreamConfig{MaxBytes: 16 << 20})
	nc, js := plain(t, br.url())
	if got := nc.ConnectedServerVersion(); got != br.version {
		t.Fatalf("connected to nats-server %s, not %s", got, br.version)
	}
	store := func(ttl, id string, size int) (*jetstream.PubAck, error) {
		m := nats.NewMsg("revocations.v1.test.session")
		m.Data = make([]byte, size)
		if ttl != "" {
			m.Header.Set(jetstream.MsgTTLHeader, ttl)
		}
		if id != "" {
			m.Header.Set(jetstream.MsgIDHeader, id)
		}
		return js.PublishMsg(within(t), m)
	}
	refusal := func(what string, err error, code jetstream.ErrorCode) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("err_code=%d ", code)) { // DeleteMsg hands on the text alone
			t.Errorf("%s: %v, want the error of code %d", what, err, code)
		}
	}
	count := func() uint64 {
		info, err := theStream(t, js).Info(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return info.State.Msgs
	}

	// Lives: not below a second, kept until they end, and for ever where there is none.
	_, err := store("500ms", "", 1)
	refusal("a life of half a second", err, 10165)
	_, err = store("soon", "", 1)
	refusal("a life that is none", err, 10165)
	for _, ttl := range []string{"", "1h", "never"} {
		if _, err := store(ttl, "", 1); err != nil {
			t.Errorf("life %q: %v", ttl, err)
		}
	}
	began := time.Now()
	if _, err := store("1s", "", 1); err != nil {
		t.Fatal(err)
	}
	if count() != 4 {
		t.Errorf("%d messages", count())
	}
	eventually(t, "a message of one second is gone", func() bool { return count() == 3 })
	if lived := time.Since(began); lived < 900*time.Millisecond {
		t.Errorf("a message of one second was gone after %s", lived)
	}

	// One id is stored once within the window, and acknowledged twice.
	first, err := store("1h", "an id", 1)
	if err != nil || first.Duplicate {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := store("1h", "an id", 2)
	if err != nil || !again.Duplicate || again.Sequence != first.Sequence || count() != 4 {
		t.Errorf("the second of one id: %+v, %v; %d messages", again, err, count())
	}

	// What is there stays there.
	s := theStream(t, js)
	refusal("purge", s.Purge(within(t)), 10110)
	refusal("delete", s.DeleteMsg(within(t), 1), 10057)
	refusal("secure delete", s.SecureDeleteMsg(within(t), 1), 10057)
	m := nats.NewMsg("revocations.v1.test.session")
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	_, err = js.PublishMsg(within(t), m)
	refusal("rollup", err, 10111)
	if count() != 4 {
		t.Errorf("%d messages", count())
	}
	// And the settings that keep it cannot be taken back, but others can: hence hazards,
	// and metadata that are read again.
	config := s.CachedInfo().Config
	update := func(change func(*jetstream.StreamConfig)) error {
		c := config
		c.Metadata = maps.Clone(config.Metadata)
		change(&c)
		_, err := js.UpdateStream(within(t), c)
		return err
	}
	refusal("deletes allowed", update(func(c *jetstream.StreamConfig) { c.DenyDelete = false }), 10052)
	refusal("purges allowed", update(func(c *jetstream.StreamConfig) { c.DenyPurge = false }), 10052)
	refusal("lives switched off", update(func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }), 10052)
	if err := update(func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"x": "y"} }); err != nil {
		t.Errorf("other metadata: %v", err)
	}
	if meta := theStream(t, js).CachedInfo().Config.Metadata; meta["x"] != "y" || meta["hybridtoken.schema"] != "" {
		t.Errorf("an edit of metadata replaces all of ours: %v", meta)
	}
	if err := update(func(*jetstream.StreamConfig) {}); err != nil {
		t.Errorf("metadata mended: %v", err)
	}

	// A message that is too large is refused, and one for which there is no room.
	_, err = store("1h", "", 65<<10)
	refusal("more than max_msg_size", err, 10054)
	for {
		if _, err = store("1h", "", 60<<10); err != nil {
			break
		}
	}
	refusal("a full stream", err, 10077)
	before := count()
	if _, err := store("1h", "", 60<<10); err == nil || count() != before {
		t.Errorf("a full stream drops what it has: %v; %d messages, %d before", err, count(), before)
	}
}

// A mirror goes on from its position and asks nobody whether its origin is the one that it
// was: what was acknowledged at or below that position never crosses, and nothing in the
// mirror's state tells. That is what digests in heartbeats are for.
func TestServerMirrorTakesPositionForContent(t *testing.T) {
	t.Parallel() // a mirror takes its time to go on
	br := newBroker(t, nil)
	_, js := plain(t, br.url())
	config := jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"log.>"}, MaxBytes: 1 << 20}
	origin := func(texts ...string) {
		t.Helper()
		made(t, func(ctx context.Context) error { _, err := js.CreateStream(ctx, config); return err })
		for _, text := range texts {
			if _, err := js.Publish(within(t), "log.x", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	origin("1", "2", "3")
	if _, err := js.CreateStream(within(t), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "ORIGIN"}}); err != nil {
		t.Fatal(err)
	}
	copied := func() (texts []string, info *jetstream.StreamInfo) {
		s, err := js.Stream(within(t), "COPY")
		if err != nil {
			t.Fatal(err)
		}
		info = s.CachedInfo()
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
			if m, err := s.GetMsg(within(t), seq); err == nil {
				texts = append(texts, string(m.Data))
			}
		}
		return texts, info
	}
	eventually(t, "the mirror has three", func() bool { texts, _ := copied(); return len(texts) == 3 })
	if err := js.DeleteStream(within(t), "ORIGIN"); err != nil {
		t.Fatal(err)
	}
	origin("a", "b", "c", "d", "e")
	eventually(t, "the mirror goes on", func() bool { texts, _ := copied(); return len(texts) == 5 })
	texts, info := copied()
	if got, want := fmt.Sprint(texts), "[1 2 3 d e]"; got != want {
		t.Errorf("the mirror holds %s, want %s", got, want)
	}
	if info.Mirror == nil || info.Mirror.Lag != 0 || info.Mirror.Error != nil {
		t.Errorf("the mirror tells of it: %+v", info.Mirror)
	}
}

// How a server says that a connection may not do something, on which package bus relies
// to tell it from silence.
func TestServerSaysWhatIsNotPermitted(t *testing.T) {
	br := newBroker(t, guarded)
	denied := make(chan error, 4)
	nc, err := nats.Connect(br.url(), append(as("verifier"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(bus.HeartbeatSubject, nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("%q", bus.HeartbeatSubject)) {
		t.Errorf("publish: %v", err)
	}
	if _, err := nc.SubscribeSync("elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"elsewhere"`) {
		t.Errorf("subscribe: %v", err)
	}
	if _, err := nats.Connect(br.url(), nats.UserInfo("verifier", "wrong")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password: %v", err)
	}
}

// Where the answer to a request goes: into the stream, from every version; below $JS.API,
// where it would pass for a request, from some.
func TestServerRepliesIntoTheStream(t *testing.T) {
	br := newBroker(t, guarded)
	createStream(t, dial(t, br.url(), as("admin")...), bus.StreamConfig{MaxBytes: 16 << 20})
	_, js := plain(t, br.url(), as("admin")...)
	nc, _ := plain(t, br.url(), append(as("verifier"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	info := "$JS.API.STREAM.INFO." + bus.DefaultStream
	eventually(t, "an answer is stored", func() bool {
		if err := nc.PublishRequest(info, "revocations.v1.junk", nil); err != nil {
			t.Fatal(err)
		}
		return stored(t, js, "revocations.v1.junk") > 0
	})
	if err := nc.LastError(); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(info, "$JS.API.STREAM.NAMES", nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(within(t)); err != nil { // the refusal comes before the pong
		t.Fatal(err)
	}
	if refused := errors.Is(nc.LastError(), nats.ErrPermissionViolation); refused != br.behaviour().refusesAPIReplies {
		t.Errorf("nats-server %s: a reply below $JS.API is refused: %t (%v), want %t", br.version, refused, nc.LastError(), br.behaviour().refusesAPIReplies)
	}
}
