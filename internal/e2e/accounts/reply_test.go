package accounts_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
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
	br := rig.NewBroker(t, rig.Guarded)
	admin := rig.Dial(t, br.URL(), rig.As("admin")...)
	rig.CreateStream(t, admin, bus.StreamConfig{MaxBytes: 16 << 20})
	l := rig.NewList(t, rig.Quick)
	pub := rig.Join(t, admin, bus.Config{}, l)
	rig.WaitFresh(t, pub)
	_, js := rig.Client(t, br.URL(), rig.As("admin")...)
	subjects := bus.Subject(rig.Issuer, revoke.KindSubject)
	if _, err := js.Publish(rig.Within(t), subjects, fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"subject","value":"by-hand"}`, rig.Issuer)); err != nil {
		t.Fatal(err)
	}
	rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSubject, Value: "by-publish"})
	rig.Barrier(t, pub)
	login := map[string]revoke.Identity{}
	for _, sub := range []string{"by-hand", "by-publish"} {
		id := rig.Session("new-login")
		id.Subject, id.IssuedAt = sub, time.Now().Add(2500*time.Millisecond) // after the cutoff
		login[sub] = id
	}
	// A cutoff reaches 2 s beyond its timestamp.
	rig.Eventually(t, "the login is past", func() bool { return time.Now().After(login["by-hand"].IssuedAt) })
	rig.MustPass(t, l, login["by-hand"], login["by-publish"])

	nc, vjs := rig.Client(t, br.URL(), rig.As("verifier")...)
	if err := nc.Publish(subjects, []byte(`{}`)); err != nil { // it has no right to
		t.Fatal(err)
	}
	if _, err := vjs.CreateConsumer(rig.Within(t), bus.DefaultStream, jetstream.ConsumerConfig{
		Name: "evil", AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	before := rig.Stored(t, js, subjects)
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
	rig.Eventually(t, "the limit: the log is stored again", func() bool { return rig.Stored(t, js, subjects) > before })
	rig.Eventually(t, "the limit: even the stream's state is stored", func() bool { return rig.Stored(t, js, "revocations.v1.junk") > 0 })
	rig.Barrier(t, pub)
	rig.MustRefuse(t, l, login["by-hand"])
	rig.MustPass(t, l, login["by-publish"])
	rig.MustRefuse(t, l, revoke.Identity{Issuer: rig.Issuer, Subject: "by-publish", IssuedAt: time.Now().Add(-time.Hour)})
}

// The limit's other half: the right to send heartbeats can fill the stream with
// what never expires. That stops publishing and freshness, loudly; it forgets nothing.
func TestHeartbeatRightCanFillTheStream(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{MaxBytes: 16 << 20})
	cfg := rig.Quick
	cfg.MaxStaleness = 500 * time.Millisecond
	l := rig.NewList(t, cfg)
	pub := rig.Join(t, conn, bus.Config{}, l)
	rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "known"})
	rig.WaitFresh(t, pub)
	_, js := rig.Client(t, br.URL())
	for size := 63 << 10; size > 0; {
		if _, err := js.Publish(rig.Within(t), bus.HeartbeatSubject, make([]byte, size)); err != nil {
			size /= 2
		}
	}
	rig.Eventually(t, "stale", func() bool { return pub.Status().State == revoke.StateStale })
	if _, err := pub.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindIssuer}); !errors.Is(err, bus.ErrFull) {
		t.Errorf("publish: %v", err)
	}
	rig.MustRefuse(t, l, rig.Session("known"))
}
