package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A limit, not a promise: in the stream's own account, who may follow can write. The
// server checks permissions on what a client publishes, not on where it asks the
// answer to be sent; an answer that is sent to a subject of the stream is stored.
// Who may pull can so have any message of the log stored again, under a new
// timestamp: an event written without "before" then cuts off everybody who has
// logged in since. One with before and at, as Publish writes it, revokes no more
// than it did. Another account with a mirror is the way out (see package bus). Once
// events are signed, or servers check replies, this test has to change.
func TestFollowersCanWriteThroughReplies(t *testing.T) {
	t.Parallel()
	br := newBroker(t, guarded)
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{MaxBytes: 16 << 20})
	l := newList(t, quick)
	pub := join(t, admin, bus.Config{}, l)
	waitFresh(t, pub)
	_, js := plain(t, br.url(), as("admin")...)
	subjects := bus.Subject(issuer, revoke.KindSubject)
	if _, err := js.Publish(within(t), subjects, fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"subject","value":"by-hand"}`, issuer)); err != nil {
		t.Fatal(err)
	}
	publish(t, pub, revoke.Event{Kind: revoke.KindSubject, Value: "by-publish"})
	barrier(t, pub)
	login := map[string]revoke.Identity{}
	for _, sub := range []string{"by-hand", "by-publish"} {
		id := session("new-login")
		id.Subject, id.IssuedAt = sub, time.Now().Add(2500*time.Millisecond) // after the cutoff
		login[sub] = id
	}
	// A cutoff reaches 2 s beyond its timestamp.
	eventually(t, "the login is past", func() bool { return time.Now().After(login["by-hand"].IssuedAt) })
	mustPass(t, l, login["by-hand"], login["by-publish"])

	nc, vjs := plain(t, br.url(), as("verifier")...)
	if err := nc.Publish(subjects, []byte(`{}`)); err != nil { // it has no right to
		t.Fatal(err)
	}
	if _, err := vjs.CreateConsumer(within(t), bus.DefaultStream, jetstream.ConsumerConfig{
		Name: "evil", AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	before := stored(t, js, subjects)
	if before != 2 {
		t.Fatalf("%d events: a verifier may publish directly", before)
	}
	request, err := json.Marshal(map[string]any{"batch": 200, "no_wait": true})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+bus.DefaultStream+".evil", subjects, request); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.STREAM.INFO."+bus.DefaultStream, "revocations.v1.junk", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the limit: the log is stored again", func() bool { return stored(t, js, subjects) > before })
	eventually(t, "the limit: even the stream's state is stored", func() bool { return stored(t, js, "revocations.v1.junk") > 0 })
	barrier(t, pub)
	mustRefuse(t, l, login["by-hand"])
	mustPass(t, l, login["by-publish"])
	mustRefuse(t, l, revoke.Identity{Issuer: issuer, Subject: "by-publish", IssuedAt: time.Now().Add(-time.Hour)})
}

func stored(t *testing.T, js jetstream.JetStream, subject string) uint64 {
	t.Helper()
	return held(t, js, bus.DefaultStream, subject)[subject]
}

// The limit's other half: the right to send heartbeats can fill the stream with
// what never expires. That stops publishing and freshness, loudly; it forgets nothing.
func TestHeartbeatRightCanFillTheStream(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{MaxBytes: 16 << 20})
	cfg := quick
	cfg.MaxStaleness = 500 * time.Millisecond
	l := newList(t, cfg)
	pub := join(t, conn, bus.Config{}, l)
	publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "known"})
	waitFresh(t, pub)
	_, js := plain(t, br.url())
	for size := 63 << 10; size > 0; {
		if _, err := js.Publish(within(t), bus.HeartbeatSubject, make([]byte, size)); err != nil {
			size /= 2
		}
	}
	eventually(t, "stale", func() bool { return pub.Status().State == revoke.StateStale })
	if _, err := pub.Publish(within(t), revoke.Event{Kind: revoke.KindIssuer}); !errors.Is(err, bus.ErrFull) {
		t.Errorf("publish: %v", err)
	}
	mustRefuse(t, l, session("known"))
}
