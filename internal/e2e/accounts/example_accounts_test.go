package accounts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The configuration of one-account.conf: everybody can do their work, and no more than
// it by publishing. What it does not bound is TestFollowersCanWriteThroughReplies.
func TestExampleOneAccount(t *testing.T) {
	t.Parallel()
	br := rig.ExampleBroker(t, "one-account.conf")
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
	verifier := rig.NewList(t, rig.Quick)
	follower := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), bus.Config{Name: "verifier"}, verifier)
	rig.WaitFresh(t, follower) // by its own heartbeats: nobody else is there
	member := rig.NewList(t, rig.Quick)
	auth := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{Name: "auth"}, member)
	rig.WaitFresh(t, auth)
	narrow := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("publisher")...), bus.Config{Name: "publisher"}, nil)

	for name, b := range map[string]*bus.Member{"auth": auth, "publisher": narrow} {
		// Both replicas can be asked and answer, time and again.
		for i := range 4 {
			id := rig.Session(fmt.Sprint(name, i))
			r, err := rollcall.Revoke(rig.Within(t), b, revoke.Event{Kind: revoke.KindSession, Value: id.Session}, rollcall.Config{Replicas: 2})
			if err != nil || len(rig.Applied(r)) != 2 {
				t.Fatalf("%s: %v; %+v", name, err, r.Replicas)
			}
			rig.MustRefuse(t, verifier, id)
			rig.MustRefuse(t, member, id)
		}
	}
	if a := follower.Status().Announcement; !a.Listening || a.Err != nil {
		t.Errorf("announcement %+v", a)
	}
	if _, err := narrow.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSubject, Value: "user"}); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a kind that it may not: %v", err)
	}
	rig.MustPass(t, verifier, rig.Session("other"))

	checkRights(t, br.URL(), append(publisherRights(),
		right{"verifier", bus.HeartbeatSubject, true},
		right{"verifier", rollcall.Subject, false}, right{"publisher", rollcall.Subject, true}, right{"auth", rollcall.Subject, true}))
	pileUp(t, br, bus.DefaultStream, 400)
}

// behindMirror is the configuration of accounts.conf and mirror.json on one server.
func behindMirror(t *testing.T) *rig.Broker {
	t.Helper()
	br := rig.ExampleBroker(t, "accounts.conf")
	rig.CreateStream(t, rig.Dial(t, br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL(), rig.ExampleUser("mirror")...)
	if _, err := js.CreateStream(rig.Within(t), rig.ExampleMirror(t, 1)); err != nil {
		t.Fatal(err)
	}
	return br
}

// Verifiers in an account of their own, behind a mirror, follow, are fresh by the
// heartbeats that cross it, refuse, and can be waited for.
func TestExampleMirrorFollowed(t *testing.T) {
	t.Parallel()
	br := behindMirror(t)
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), rig.ExampleVerifier, l)
	rig.Eventually(t, "nothing proves the mirror current while nobody beats", func() bool {
		s := f.Status()
		return s.Subscriptions > 0 && s.State == revoke.StateSyncing
	})

	own := rig.NewList(t, rig.Quick)
	auth := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{Name: "auth"}, own)
	rig.WaitFresh(t, auth, f)
	rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "published"})
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, rig.Session("published"))
	rig.MustPass(t, l, rig.Session("other"))

	// A follower that comes later reads it all.
	late, another := rig.NewList(t, rig.Quick), rig.ExampleVerifier
	another.Name = "another"
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), another, late))
	rig.MustRefuse(t, late, rig.Session("published"))

	// A roll call across accounts, by exactly these rights: the member beside the
	// stream and both verifiers behind the mirror answer, time and again.
	for name, b := range map[string]*bus.Member{
		"auth":      auth,
		"publisher": rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("publisher")...), bus.Config{}, nil),
		"operator":  rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("operator")...), bus.Config{}, nil),
	} {
		for i := range 4 {
			id := rig.Session(fmt.Sprint(name, i))
			r, err := rollcall.Revoke(rig.Within(t), b, revoke.Event{Kind: revoke.KindSession, Value: id.Session}, rollcall.Config{Replicas: 3})
			if err != nil || len(rig.Applied(r)) != 3 {
				t.Fatalf("%s: %v; %+v", name, err, r.Replicas)
			}
			rig.MustRefuse(t, l, id)
			rig.MustRefuse(t, own, id)
			rig.MustRefuse(t, late, id)
		}
	}
	if a := f.Status().Announcement; !a.Listening || a.Err != nil || a.Answered == 0 {
		t.Errorf("announcement %+v", a)
	}
	if s := f.Status(); s.Sent != 0 || s.Subscriptions != 1 {
		t.Errorf("status %+v", s)
	}

	// Without members nothing proves the mirror current.
	cfg := rig.Quick
	cfg.MaxStaleness = 500 * time.Millisecond
	short := rig.NewList(t, cfg)
	g := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), rig.ExampleVerifier, short)
	rig.WaitFresh(t, g)
	auth.Close()
	rig.Eventually(t, "stale without heartbeats", func() bool { return g.Status().State == revoke.StateStale })
	rig.MustRefuse(t, short, rig.Session("published"))
}

// A thief of a verifier's credential, behind the mirror, stores nothing: not by
// publishing, nor by having the server answer into the stream. Beside it, the same
// requests succeed where they are harmless.
func TestExampleMirrorAttacked(t *testing.T) {
	t.Parallel()
	br := behindMirror(t)
	beside := rig.NewList(t, rig.Quick)
	auth := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{}, beside)
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), rig.ExampleVerifier, l)
	rig.WaitFresh(t, f, auth)
	rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "known"})
	rig.Barrier(t, f)

	checkRights(t, br.URL(), append(publisherRights(),
		right{"verifier", bus.HeartbeatSubject, false}, right{"verifier", rollcall.Subject, false},
		right{"verifier", "JS.auth.API.CONSUMER.CREATE.REVOCATIONS", false}, right{"verifier", "$JS.FC.REVOCATIONS.x", false},
		right{"verifier", "$JS.API.CONSUMER.CREATE.REVOCATIONS.x", false}, right{"verifier", "$JS.API.STREAM.INFO.REVOCATIONS", false},
		right{"publisher", rollcall.Subject, true}, right{"auth", rollcall.Subject, true}))
	// Those rights that were there to try have left their mark; from here on nothing may.
	rig.Barrier(t, auth)
	faults := len(beside.Stats(revoke.Now()).Faults)

	_, operator := rig.Client(t, br.URL(), rig.ExampleUser("operator")...)
	_, mirror := rig.Client(t, br.URL(), rig.ExampleUser("mirror")...)
	subjects := map[string]string{
		"event": bus.Subject(rig.Issuer, revoke.KindSubject), "fresh": "revocations.v1.injected", "import": "JS.auth.API.CONSUMER.CREATE.REVOCATIONS",
		"deliver": "mirror.verifiers.injected", "flow": "$JS.FC.REVOCATIONS.injected", "delete": "$JS.API.STREAM.DELETE." + bus.DefaultStream,
		"purge": "$JS.API.STREAM.PURGE." + rig.MirrorStream, "update": "$JS.API.STREAM.UPDATE." + rig.MirrorStream, "applied": rollcall.Subject,
	}
	count := func() map[string]uint64 {
		m := map[string]uint64{}
		for stream, js := range map[string]jetstream.JetStream{bus.DefaultStream: operator, rig.MirrorStream: mirror} {
			for subject, n := range rig.Held(t, js, stream, "revocations.v1.>") {
				if subject != bus.HeartbeatSubject {
					m[stream+" "+subject] = n
				}
			}
		}
		return m
	}
	var before map[string]uint64
	rig.Eventually(t, "the mirror has what its origin has", func() bool {
		before = count()
		for key, n := range before {
			if subject, ok := strings.CutPrefix(key, bus.DefaultStream+" "); ok && before[rig.MirrorStream+" "+subject] != n {
				return false
			}
		}
		return true
	})

	nc, thief := rig.Client(t, br.URL(), rig.ExampleUser("verifier")...)
	if _, err := thief.CreateConsumer(rig.Within(t), rig.MirrorStream, jetstream.ConsumerConfig{Name: "evil", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	pull, _ := json.Marshal(map[string]any{"batch": 100, "no_wait": true})
	for name, reply := range subjects {
		for _, request := range []string{"CONSUMER.MSG.NEXT." + rig.MirrorStream + ".evil", "STREAM.INFO." + rig.MirrorStream, "CONSUMER.DELETE." + rig.MirrorStream + ".none"} {
			if err := nc.PublishRequest("$JS.API."+request, reply, pull); err != nil {
				t.Fatal(err)
			}
		}
		// A push consumer, which the server feeds by itself. Whether it can be made does
		// not matter; what it brings about does.
		push, _ := json.Marshal(map[string]any{"stream_name": rig.MirrorStream, "config": map[string]any{
			"name": "push-" + name, "deliver_subject": reply, "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant", "mem_storage": true}})
		m, err := nc.RequestWithContext(rig.Within(t), "$JS.API.CONSUMER.CREATE."+rig.MirrorStream+".push-"+name, push)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("push consumer to %s: %.120s", reply, m.Data)
	}
	// The answer to a request for a consumer holds the consumer's configuration: sent to
	// the origin's import it looks much like a request for one there, one whose idle
	// heartbeats would delete the origin. That the mirror bears another name refuses it.
	trap, _ := json.Marshal(map[string]any{"stream_name": rig.MirrorStream, "config": map[string]any{
		"name": "trap", "deliver_subject": "$JS.API.STREAM.DELETE." + bus.DefaultStream, "deliver_policy": "all", "ack_policy": "none",
		"replay_policy": "instant", "mem_storage": true, "idle_heartbeat": 100 * time.Millisecond, "num_replicas": 1}})
	if err := nc.PublishRequest("$JS.API.CONSUMER.CREATE."+rig.MirrorStream+".trap", subjects["import"], trap); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil {
		t.Fatal(err)
	}
	// The good twin: the same request, answered to its own inbox, brings the log.
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thief.CreateConsumer(rig.Within(t), rig.MirrorStream, jetstream.ConsumerConfig{Name: "good", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+rig.MirrorStream+".good", inbox, pull); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsgWithContext(rig.Within(t)); err != nil || m.Header.Get("Status") != "" {
		t.Fatalf("the log is not delivered: %v %+v", err, m)
	}

	// All of it has been served by now; the chain is unbroken, and nothing was stored.
	id := rig.Session("after")
	rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: id.Session})
	rig.Barrier(t, f)
	rig.Barrier(t, auth)
	rig.MustRefuse(t, l, id, rig.Session("known"))
	rig.MustPass(t, l, rig.Session("other"))
	session := bus.Subject(rig.Issuer, revoke.KindSession)
	after := count()
	for key, n := range after {
		want := before[key]
		if key == bus.DefaultStream+" "+session || key == rig.MirrorStream+" "+session {
			want++
		}
		if n != want {
			t.Errorf("%s: %d messages, want %d", key, n, want)
		}
	}
	if n := len(beside.Stats(revoke.Now()).Faults); n != faults {
		t.Errorf("faults of %d kinds, before %d", n, faults)
	}
	if s := f.Status(); s.State != revoke.StateFresh {
		t.Errorf("status %+v", s)
	}
	s := rig.TheStream(t, operator)
	if n := s.CachedInfo().State.Consumers; n > 2 { // the mirror's and the member's
		t.Errorf("%d consumers of the origin", n)
	}
	pileUp(t, br, rig.MirrorStream, 400)
}

// A limit, not a promise: who may pull from a stream can delete it. The server sends the
// status that ends a pull, an empty message, wherever the request asks it to, and an
// empty message on the API's subject deletes the stream. Behind a mirror that is the
// mirror: the origin stays, every verifier of that account becomes stale and says why,
// none forgets anything, and all are fresh again once the mirror is made anew. In the
// stream's own account it is the stream. Some versions of the server refuse such a request.
func TestExampleFollowersCanDeleteWhatTheyFollow(t *testing.T) {
	t.Parallel()
	t.Run("mirror", func(t *testing.T) {
		t.Parallel()
		br := behindMirror(t)
		beside := rig.NewList(t, rig.Quick)
		auth := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{}, beside)
		cfg := rig.Quick
		cfg.MaxStaleness = 500 * time.Millisecond
		l := rig.NewList(t, cfg)
		f := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), rig.ExampleVerifier, l)
		rig.WaitFresh(t, f, auth)
		rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "before"})
		rig.Barrier(t, f)

		_, js := rig.Client(t, br.URL(), rig.ExampleUser("mirror")...)
		if !deleteByReply(t, br, js, rig.MirrorStream) {
			rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "after"})
			rig.Barrier(t, f)
			rig.MustRefuse(t, l, rig.Session("before"), rig.Session("after"))
			return
		}
		rig.Eventually(t, "stale, and it says why", func() bool {
			s := f.Status()
			return s.State == revoke.StateStale && s.Reason == revoke.ReasonNoStream
		})
		rig.MustRefuse(t, l, rig.Session("before"))
		rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "meanwhile"}) // the origin is there
		rig.Barrier(t, auth)
		rig.MustRefuse(t, beside, rig.Session("meanwhile"))

		rig.Made(t, func(ctx context.Context) error { _, err := js.CreateStream(ctx, rig.ExampleMirror(t, 1)); return err })
		rig.WaitFresh(t, f)
		rig.Barrier(t, f)
		rig.MustRefuse(t, l, rig.Session("before"), rig.Session("meanwhile"))
	})
	t.Run("own account", func(t *testing.T) {
		t.Parallel()
		br := rig.ExampleBroker(t, "one-account.conf")
		operator := rig.Dial(t, br.URL(), rig.ExampleUser("operator")...)
		rig.CreateStream(t, operator, bus.StreamConfig{})
		l := rig.NewList(t, rig.Quick)
		auth := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{}, l)
		rig.WaitFresh(t, auth)
		rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "before"})
		rig.Barrier(t, auth)
		_, js := rig.Client(t, br.URL(), rig.ExampleUser("operator")...)
		if !deleteByReply(t, br, js, bus.DefaultStream) {
			rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "after"})
			rig.Barrier(t, auth)
			rig.MustRefuse(t, l, rig.Session("before"), rig.Session("after"))
			return
		}
		// No replica forgets, and once there is a stream again the publisher gives it back.
		rig.Eventually(t, "no stream", func() bool { return auth.Status().Reason == revoke.ReasonNoStream })
		rig.MustRefuse(t, l, rig.Session("before"))
		rig.CreateStream(t, operator, bus.StreamConfig{})
		rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "after"})
		late := rig.NewList(t, rig.Quick)
		g := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("verifier")...), bus.Config{}, late)
		rig.WaitFresh(t, g)
		rig.Eventually(t, "the new stream has it all", func() bool {
			return rig.Refused(late, rig.Session("before")) && rig.Refused(late, rig.Session("after"))
		})
	})
}

// deleteByReply has the server delete the stream as a verifier that may not, and reports
// whether it does: there are servers that refuse the request (see behaviours). js is of
// somebody who may see.
func deleteByReply(t *testing.T, br *rig.Broker, js jetstream.JetStream, stream string) bool {
	t.Helper()
	const prefix = "$JS.API.STREAM.DELETE."
	if !refusedPublish(t, br.URL(), "verifier", prefix+stream, nil) {
		t.Fatal("a verifier may delete directly")
	}
	nc, thief := rig.Client(t, br.URL(), rig.ExampleUser("verifier")...)
	if _, err := thief.CreateConsumer(rig.Within(t), stream, jetstream.ConsumerConfig{
		Name: "evil", AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverNewPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	if br.Behaviour().RefusesAPIReplies {
		if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+".evil", prefix+stream, []byte(`{"batch":100,"no_wait":true}`)); err != nil {
			t.Fatal(err)
		}
		if err := nc.FlushWithContext(rig.Within(t)); err != nil {
			t.Fatal(err)
		}
		if err := nc.LastError(); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), prefix) {
			t.Fatalf("nats-server %s does not refuse such a reply: %v", br.Version, err)
		}
		if _, err := js.Stream(rig.Within(t), stream); err != nil {
			t.Fatalf("refused, and done all the same: %v", err)
		}
		return false
	}
	rig.AskUntil(t, "the limit: the stream is deleted", func(ctx context.Context) error {
		if err := nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+".evil", prefix+stream, []byte(`{"batch":100,"no_wait":true}`)); err != nil {
			t.Fatal(err)
		}
		_, err := js.Stream(ctx, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		return fmt.Errorf("it is there, or nobody says: %v", err)
	})
	return true
}

// pileUp makes consumers as a verifier until the server has enough, at the limit of the
// file; who follows already goes on.
func pileUp(t *testing.T, br *rig.Broker, stream string, limit int) {
	t.Helper()
	_, js := rig.Client(t, br.URL(), rig.ExampleUser("verifier")...)
	for i := range limit + 1 {
		_, err := js.CreateConsumer(rig.Within(t), stream, jetstream.ConsumerConfig{
			Name: fmt.Sprint("pile-", i), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
		})
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeMaximumConsumersLimit {
			if i < limit/2 {
				t.Errorf("refused after %d consumers: no room for followers", i)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("more than %d consumers", limit)
}
