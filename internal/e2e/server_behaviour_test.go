package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
)

// What package bus relies on in the server that keeps the stream.
func TestServerKeepsTheLog(t *testing.T) {
	br := rig.NewBroker(t, nil)
	br.Behaviour()
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{MaxBytes: 16 << 20})
	nc, js := rig.Client(t, br.URL())
	if got := nc.ConnectedServerVersion(); got != br.Version {
		t.Fatalf("connected to nats-server %s, not %s", got, br.Version)
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
		return js.PublishMsg(rig.Within(t), m)
	}
	refusal := func(what string, err error, code jetstream.ErrorCode) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("err_code=%d ", code)) { // DeleteMsg hands on the text alone
			t.Errorf("%s: %v, want the error of code %d", what, err, code)
		}
	}
	count := func() uint64 {
		info, err := rig.TheStream(t, js).Info(rig.Within(t))
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
	rig.Eventually(t, "a message of one second is gone", func() bool { return count() == 3 })
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
	s := rig.TheStream(t, js)
	refusal("purge", s.Purge(rig.Within(t)), 10110)
	refusal("delete", s.DeleteMsg(rig.Within(t), 1), 10057)
	refusal("secure delete", s.SecureDeleteMsg(rig.Within(t), 1), 10057)
	m := nats.NewMsg("revocations.v1.test.session")
	m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	_, err = js.PublishMsg(rig.Within(t), m)
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
		_, err := js.UpdateStream(rig.Within(t), c)
		return err
	}
	refusal("deletes allowed", update(func(c *jetstream.StreamConfig) { c.DenyDelete = false }), 10052)
	refusal("purges allowed", update(func(c *jetstream.StreamConfig) { c.DenyPurge = false }), 10052)
	refusal("lives switched off", update(func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }), 10052)
	if err := update(func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"x": "y"} }); err != nil {
		t.Errorf("other metadata: %v", err)
	}
	if meta := rig.TheStream(t, js).CachedInfo().Config.Metadata; meta["x"] != "y" || meta["hybridtoken.schema"] != "" {
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
	br := rig.NewBroker(t, nil)
	_, js := rig.Client(t, br.URL())
	config := jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"log.>"}, MaxBytes: 1 << 20}
	origin := func(texts ...string) {
		t.Helper()
		rig.Made(t, func(ctx context.Context) error { _, err := js.CreateStream(ctx, config); return err })
		for _, text := range texts {
			if _, err := js.Publish(rig.Within(t), "log.x", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	origin("1", "2", "3")
	if _, err := js.CreateStream(rig.Within(t), jetstream.StreamConfig{Name: "COPY", Mirror: &jetstream.StreamSource{Name: "ORIGIN"}}); err != nil {
		t.Fatal(err)
	}
	copied := func() (texts []string, info *jetstream.StreamInfo) {
		s, err := js.Stream(rig.Within(t), "COPY")
		if err != nil {
			t.Fatal(err)
		}
		info = s.CachedInfo()
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
			if m, err := s.GetMsg(rig.Within(t), seq); err == nil {
				texts = append(texts, string(m.Data))
			}
		}
		return texts, info
	}
	rig.Eventually(t, "the mirror has three", func() bool { texts, _ := copied(); return len(texts) == 3 })
	if err := js.DeleteStream(rig.Within(t), "ORIGIN"); err != nil {
		t.Fatal(err)
	}
	origin("a", "b", "c", "d", "e")
	rig.Eventually(t, "the mirror goes on", func() bool { texts, _ := copied(); return len(texts) == 5 })
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
	br := rig.NewBroker(t, rig.Guarded)
	denied := make(chan error, 4)
	nc, err := nats.Connect(br.URL(), append(rig.As("verifier"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish(bus.HeartbeatSubject, nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("%q", bus.HeartbeatSubject)) {
		t.Errorf("publish: %v", err)
	}
	if _, err := nc.SubscribeSync("elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil {
		t.Fatal(err)
	}
	if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"elsewhere"`) {
		t.Errorf("subscribe: %v", err)
	}
	if _, err := nats.Connect(br.URL(), nats.UserInfo("verifier", "wrong")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password: %v", err)
	}
}

// Where the answer to a request goes: into the stream, from every version; below $JS.API,
// where it would pass for a request, from some.
func TestServerRepliesIntoTheStream(t *testing.T) {
	br := rig.NewBroker(t, rig.Guarded)
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.As("admin")...), bus.StreamConfig{MaxBytes: 16 << 20})
	_, js := rig.Client(t, br.URL(), rig.As("admin")...)
	nc, _ := rig.Client(t, br.URL(), append(rig.As("verifier"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	info := "$JS.API.STREAM.INFO." + bus.DefaultStream
	rig.Eventually(t, "an answer is stored", func() bool {
		if err := nc.PublishRequest(info, "revocations.v1.junk", nil); err != nil {
			t.Fatal(err)
		}
		return rig.Stored(t, js, "revocations.v1.junk") > 0
	})
	if err := nc.LastError(); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest(info, "$JS.API.STREAM.NAMES", nil); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil { // the refusal comes before the pong
		t.Fatal(err)
	}
	if refused := errors.Is(nc.LastError(), nats.ErrPermissionViolation); refused != br.Behaviour().RefusesAPIReplies {
		t.Errorf("nats-server %s: a reply below $JS.API is refused: %t (%v), want %t", br.Version, refused, nc.LastError(), br.Behaviour().RefusesAPIReplies)
	}
}
