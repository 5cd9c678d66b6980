package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A storedEvent is an event as it stands in the stream.
type storedEvent struct {
	Kind, Value       string
	Before, Until, At int64
	ttl               time.Duration
}

// storedEvents returns the events in the stream, by value.
func storedEvents(t *testing.T, url string) map[string]storedEvent {
	t.Helper()
	_, js := rig.Client(t, url)
	s := rig.TheStream(t, js)
	list := map[string]storedEvent{}
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(rig.Within(t), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Subject == bus.HeartbeatSubject {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var e storedEvent
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		if e.ttl, err = time.ParseDuration(m.Header.Get(jetstream.MsgTTLHeader)); err != nil {
			t.Fatal(err)
		}
		list[e.Value] = e
	}
	return list
}

// Invariant 9: an event that is published while the server is down, by a process that has
// never seen the stream, is kept like any other, over another restart, too. It lives as
// long as the stream's retention says that it must, not those of an earlier stream; and no
// longer.
func TestOutboxBeforeTheStreamWasSeen(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{Retention: revoke.Retention{TokenLifetime: time.Minute, SessionLifetime: time.Hour}})
	file := filepath.Join(t.TempDir(), "outbox")
	key, public := rig.SigningKey(1)
	cfg := bus.Config{Issuers: []string{rig.Issuer}, OutboxFile: file, Signer: key}
	b, err := bus.Join(rig.Within(t), rig.Joining(conn, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "before"})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// While the process is down somebody makes the stream anew, for tokens that live longer.
	_, js := rig.Client(t, br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	longer := revoke.Retention{TokenLifetime: 2 * time.Hour, SessionLifetime: 10 * 24 * time.Hour}
	rig.CreateStream(t, conn, bus.StreamConfig{Retention: longer})
	br.Stop()

	begun := map[string]time.Time{} // when it was published
	explicit := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for _, events := range [][]revoke.Event{
		{
			{Kind: revoke.KindToken, Value: "token"}, {Kind: revoke.KindSession, Value: "session"}, {Kind: revoke.KindSubject, Value: "subject"},
			{Kind: revoke.KindSession, Value: "explicit", Until: explicit},
		}, {
			{Kind: revoke.KindClient, Value: "client"}, {Kind: revoke.KindToken, Value: "second"},
		},
	} {
		conn := rig.Dial(t, br.URL())
		b, err := bus.Join(rig.Within(t), rig.Joining(conn, cfg, nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			begun[e.Value] = time.Now().Truncate(time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if _, err := b.Publish(ctx, e); !errors.Is(err, bus.ErrKept) || !errors.Is(err, bus.ErrNotAcknowledged) {
				t.Errorf("%s: %v", e.Value, err)
			}
			cancel()
		}
		if _, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession}); !errors.Is(err, revoke.ErrInvalidEvent) {
			t.Errorf("no event: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Without an outbox nothing can be kept, and it is said.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil).Publish(ctx, revoke.Event{Kind: revoke.KindToken, Value: "lost"}); !errors.Is(err, bus.ErrNotAcknowledged) || errors.Is(err, bus.ErrKept) {
		t.Errorf("without an outbox: %v", err)
	}

	early := rig.Dial(t, br.URL())
	last, err := bus.Join(rig.Within(t), rig.Joining(early, cfg, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	br.Start()
	// It waits for the connection, and gets a receipt like any other.
	begun["waits"] = time.Now().Truncate(time.Millisecond)
	r := rig.Publish(t, last, revoke.Event{Kind: revoke.KindSession, Value: "waits"})
	if want := r.Event.At.Add(longer.SessionLifetime); r.Event.Until.Sub(want).Abs() > time.Millisecond {
		t.Errorf("the receipt's until is %s, want %s", r.Event.Until, want)
	}
	l := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: rig.TrustOf(public)}, l))
	old := rig.Session("x")
	old.IssuedAt = time.Now().Add(-time.Minute)
	bySubject, byClient, byToken, bySecond := old, old, old, old
	bySubject.Subject, byClient.Client, byToken.Token, bySecond.Token = "subject", "client", "token", "second"
	for name, id := range map[string]revoke.Identity{
		"subject": bySubject, "client": byClient, "token": byToken, "second": bySecond,
		"session": rig.Session("session"), "explicit": rig.Session("explicit"), "before": rig.Session("before"), "waits": rig.Session("waits"),
	} {
		rig.Eventually(t, name, func() bool { return rig.Refused(l, id) })
	}
	rig.MustPass(t, l, rig.Session("other"))
	rig.Eventually(t, "nothing pending", func() bool { return last.Status().Publishing.Pending == 0 })
	events := storedEvents(t, br.URL())
	for value, want := range map[string]time.Duration{
		"token": longer.TokenLifetime, "second": longer.TokenLifetime,
		"session": longer.SessionLifetime, "waits": longer.SessionLifetime,
		"subject": longer.SessionLifetime, "client": longer.SessionLifetime,
	} {
		e := events[value]
		if got := time.UnixMilli(e.Until).Sub(begun[value]); got < want || got > want+20*time.Second {
			t.Errorf("%s lives for %s, want %s: %+v", value, got, want, e)
		}
		if e.ttl < want || e.ttl > want+24*time.Hour+20*time.Minute { // for the digests, up to a day longer
			t.Errorf("%s is stored for %s", value, e.ttl)
		}
	}
	// What was given fits the stream of before, and is less than tokens live for now.
	if e := events["explicit"]; e.Until < begun["explicit"].Add(longer.TokenLifetime).UnixMilli() || e.Until > explicit.Add(time.Hour+20*time.Second).UnixMilli() {
		t.Errorf("until was given, and tokens live for longer: %+v", e)
	}
	if _, there := events["lost"]; there {
		t.Error("what was refused was stored")
	}
	if s := last.Status().Publishing; s.OutboxDamaged != 0 || s.OutboxErr != nil || s.Losses > 1 {
		t.Errorf("%+v", s)
	}
	// And in the file, for the next process, nothing awaits its end.
	if err := last.Close(); err != nil {
		t.Fatal(err)
	}
	next := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: file}, nil)
	if s := next.Status().Publishing; s.Pending != 0 {
		t.Errorf("%+v", s)
	}
}
