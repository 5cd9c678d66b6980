package publish_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// values returns the value members of the events in the stream, in its order.
func values(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	s := rig.TheStream(t, js)
	var list []string
	info := s.CachedInfo()
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := s.GetMsg(rig.Within(t), seq)
		if err != nil {
			continue // a hole
		}
		var e struct{ Value string }
		if err := json.Unmarshal(msg.Data, &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e.Value)
	}
	return list
}

func TestPublish(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())

	before := time.Now()
	r, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Keep: []string{"kept"}, Reason: "password_change"})
	if err != nil {
		t.Fatal(err)
	}
	e := r.Event
	if r.Sequence != 1 || r.ID == "" || r.ID != e.ID || e.Issuer != rig.Issuer || r.Time.Before(before) || e.At.Before(before) ||
		e.Before.Before(before.Add(2*time.Second)) || e.Until.Before(before.Add(90*24*time.Hour)) {
		t.Errorf("receipt %+v", r)
	}
	msg, err := rig.TheStream(t, js).GetMsg(rig.Within(t), r.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	if want := bus.Subject(rig.Issuer, revoke.KindSubject); msg.Subject != want {
		t.Errorf("subject %s, want %s", msg.Subject, want)
	}
	var wire map[string]any
	if err := json.Unmarshal(msg.Data, &wire); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"v": 1.0, "id": r.ID, "iss": rig.Issuer, "kind": "subject", "value": "user-1", "reason": "password_change",
		"before": float64(e.Before.UnixMilli()), "until": float64(e.Until.UnixMilli()),
	} {
		if wire[name] != want {
			t.Errorf("on the wire %s is %v, want %v", name, wire[name], want)
		}
	}
	// The message outlives the event, also where digests cease to count it before it
	// expires, but not for ever.
	life, err := time.ParseDuration(msg.Header.Get("Nats-TTL"))
	min := e.Until.Add(revoke.StreamMargin).Sub(r.Time)
	if min += replica.DigestGrain(min) - replica.DigestGrain(0); err != nil || life < min || life > min+5*time.Second || life%time.Second != 0 {
		t.Errorf("TTL %s, want %s rounded up; %v", life, min, err)
	}
	if id := msg.Header.Get("Nats-Msg-Id"); len(id) != 64 || strings.Contains(id, r.ID) {
		t.Errorf("message id %q", id)
	}
	if s := b.Status().Publishing; s.Acknowledged != 1 || s.Losses != 0 || len(s.Unsafe) != 0 || len(s.Weak) != 2 {
		t.Errorf("stats %+v", s)
	}
}

// Invariant 9: what cannot take effect is refused, and nothing of it is sent.
func TestPublishRefusals(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())
	now := time.Now()
	for name, e := range map[string]revoke.Event{
		"other issuer":     {Kind: revoke.KindToken, Value: "x", Issuer: "https://auth.example.org"},
		"trailing slash":   {Kind: revoke.KindToken, Value: "x", Issuer: rig.Issuer + "/"},
		"no kind":          {Value: "x"},
		"no value":         {Kind: revoke.KindSession},
		"65 keeps":         {Kind: revoke.KindSubject, Value: "x", Keep: strings.Split(strings.Repeat("s,", 64)+"s", ",")},
		"future cutoff":    {Kind: revoke.KindSubject, Value: "x", Before: now.Add(time.Hour)},
		"seconds":          {Kind: revoke.KindSubject, Value: "x", Before: time.UnixMilli(now.Unix())},
		"until too far":    {Kind: revoke.KindToken, Value: "x", Until: now.Add(100 * 24 * time.Hour)},
		"key by kid":       {Kind: revoke.KindKey, Value: "kid-1"},
		"bad UTF-8":        {Kind: revoke.KindToken, Value: "\xff"},
		"value over bound": {Kind: revoke.KindToken, Value: strings.Repeat("x", 513)},
	} {
		if _, err := b.Publish(rig.Within(t), e); !errors.Is(err, revoke.ErrInvalidEvent) {
			t.Errorf("%s: %v", name, err)
		}
		// One bad event refuses a whole batch, before anything is sent.
		results, err := b.PublishAll(rig.Within(t), []revoke.Event{rig.TokenEvent("good"), e})
		if !errors.Is(err, revoke.ErrInvalidEvent) || len(results) != 2 || results[0].Err == nil {
			t.Errorf("%s, in a batch: %v", name, err)
		}
	}
	if got := values(t, js); len(got) != 0 {
		t.Errorf("stored: %q", got)
	}
	// The good twins.
	for _, e := range []revoke.Event{
		{Kind: revoke.KindToken, Value: "x", Issuer: rig.Issuer},
		{Kind: revoke.KindSubject, Value: "x", Keep: strings.Split(strings.Repeat("s,", 63)+"s", ","), Before: now},
		{Kind: revoke.KindKey, Value: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{Kind: revoke.KindIssuer},
		{Kind: revoke.KindToken, Value: strings.Repeat("x", 512), Until: now.Add(time.Minute)},
	} {
		if _, err := b.Publish(rig.Within(t), e); err != nil {
			t.Errorf("%s: %v", e.Kind, err)
		}
	}

	follower, err := bus.Join(rig.Within(t), bus.Config{InProcess: srv, List: rig.NewList(t, revoke.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	if _, err := follower.Publish(rig.Within(t), rig.TokenEvent("x")); err == nil {
		t.Error("a Member without an issuer publishes")
	}
}

func TestPublishLargestEvent(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{})
	worst := strings.Repeat("x", revoke.MaxValueBytes)
	b, err := bus.Join(rig.Within(t), bus.Config{InProcess: srv, Issuers: []string{worst}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e := revoke.Event{Kind: revoke.KindSubject, Value: worst}
	for range revoke.MaxKeep {
		e.Keep = append(e.Keep, worst)
	}
	if _, err := b.Publish(rig.Within(t), e); err != nil {
		t.Error(err)
	}
	for i := range e.Keep {
		e.Keep[i] = strings.Repeat("\x01", revoke.MaxValueBytes) // six bytes of JSON each
	}
	if _, err := b.Publish(rig.Within(t), e); !errors.Is(err, revoke.ErrInvalidEvent) || errors.Is(err, bus.ErrNotAcknowledged) {
		t.Errorf("an event that no message can hold: %v", err)
	}
}

func TestPublishAllConcurrently(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())
	const callers, each = 4, 150
	var mu sync.Mutex
	seen := map[uint64]string{}
	record := func(r revoke.Receipt, err error) {
		mu.Lock()
		defer mu.Unlock()
		if other, ok := seen[r.Sequence]; ok || err != nil {
			t.Errorf("%s: sequence %d, as %s; %v", r.Event.Value, r.Sequence, other, err)
		}
		seen[r.Sequence] = r.Event.Value
	}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				record(b.Publish(rig.Within(t), rig.TokenEvent(fmt.Sprintf("single-%d-%d", c, i))))
			}
		})
		wg.Go(func() {
			var batch []revoke.Event
			for i := range each {
				batch = append(batch, rig.TokenEvent(fmt.Sprintf("batch-%d-%d", c, i)))
			}
			results, err := b.PublishAll(rig.Within(t), batch)
			if err != nil {
				t.Error(err)
			}
			for i, r := range results {
				if r.Receipt.Event.Value != batch[i].Value {
					t.Errorf("result %d is of %s", i, r.Receipt.Event.Value)
				}
				record(r.Receipt, r.Err)
			}
		})
	}
	wg.Wait()
	if s := b.Status().Publishing; s.Acknowledged != 2*callers*each || s.Losses != 0 {
		t.Errorf("stats %+v", s)
	}
	for seq, want := range seen {
		msg, err := rig.TheStream(t, js).GetMsg(rig.Within(t), seq)
		if err != nil || !strings.Contains(string(msg.Data), `"`+want+`"`) {
			t.Errorf("at %d: not %s, %v", seq, want, err)
		}
	}
	if results, err := b.PublishAll(rig.Within(t), nil); err != nil || len(results) != 0 {
		t.Errorf("empty batch: %v, %v", results, err)
	}
}

// What forgets is refused, with everything that is wrong with it.
func TestPublishUnsafeStream(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("good")); err != nil {
		t.Fatal(err)
	}
	good := rig.TheStream(t, js).CachedInfo().Config
	spoilt := good
	spoilt.MaxAge = time.Hour
	spoilt.Discard = jetstream.DiscardOld
	if _, err := js.UpdateStream(rig.Within(t), spoilt); err != nil {
		t.Fatal(err)
	}
	b2 := rig.Join(t, bus.Config{Servers: srv.URL()}, bus.Config{}, nil)
	_, err := b2.Publish(rig.Within(t), rig.TokenEvent("x"))
	if !errors.Is(err, bus.ErrStreamUnsafe) || !strings.Contains(err.Error(), "max age") || !strings.Contains(err.Error(), "discard") {
		t.Errorf("error %v", err)
	}
	if s := b2.Status().Publishing; len(s.Unsafe) != 2 {
		t.Errorf("stats %+v", s)
	}
	if _, err := js.UpdateStream(rig.Within(t), good); err != nil {
		t.Fatal(err)
	}
	rig.AskUntil(t, "the mended stream is accepted", func(ctx context.Context) error {
		_, err := b2.Publish(ctx, rig.TokenEvent("mended"))
		return err
	})

	// Without its retention nobody knows for how long to keep anything.
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	bare := good
	bare.Metadata = nil
	if _, err := js.CreateStream(rig.Within(t), bare); err != nil {
		t.Fatal(err)
	}
	if _, err := rig.Join(t, bus.Config{Servers: srv.URL()}, bus.Config{}, nil).Publish(rig.Within(t), rig.TokenEvent("x")); !errors.Is(err, bus.ErrStreamUnsafe) {
		t.Errorf("no metadata: %v", err)
	}
}

// The limits are graded, and heartbeats always fit.
func TestPublishFull(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0", MaxBytes: 16 << 20})
	_, js := rig.Client(t, srv.URL())

	bulky := func(kind revoke.Kind) revoke.Event {
		e := revoke.Event{Kind: kind, Value: "v"}
		if kind == revoke.KindSubject {
			for range revoke.MaxKeep {
				e.Keep = append(e.Keep, strings.Repeat("s", revoke.MaxValueBytes))
			}
		}
		return e
	}
	fill := func() float64 {
		info := rig.TheStream(t, js).CachedInfo()
		return float64(info.State.Bytes) / float64(info.Config.MaxBytes)
	}
	var batch []revoke.Event
	for range 600 {
		batch = append(batch, bulky(revoke.KindSubject))
	}
	results, err := b.PublishAll(rig.Within(t), batch)
	if f := fill(); !errors.Is(err, bus.ErrFull) || f < 0.78 || f > 0.81 {
		t.Fatalf("a batch filled %.3f: %v", f, err)
	}
	stored := 0
	for _, r := range results {
		if r.Err == nil {
			stored++
		}
	}
	if s := b.Status().Publishing; uint64(stored) != s.Acknowledged {
		t.Errorf("%d results without an error, %d acknowledged", stored, s.Acknowledged)
	}

	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("single")); err != nil {
		t.Fatalf("beyond the batch limit: %v", err)
	}
	for err = nil; err == nil; {
		_, err = b.Publish(rig.Within(t), bulky(revoke.KindSubject)) // up to 97 %
	}
	if f := fill(); !errors.Is(err, bus.ErrFull) || f < 0.95 || f > 0.98 {
		t.Fatalf("mass events filled %.3f: %v", f, err)
	}
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("single")); !errors.Is(err, bus.ErrFull) {
		t.Errorf("a single event beyond 90 %%: %v", err)
	}
	if _, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindIssuer}); err != nil {
		t.Errorf("the red button no longer fits: %v", err)
	}
	if _, err := js.Publish(rig.Within(t), bus.HeartbeatSubject, []byte(`{"v":1}`)); err != nil {
		t.Errorf("a heartbeat no longer fits: %v", err)
	}
	if s := b.Status().Publishing; s.Fill < 0.95 || s.Fill > 1 {
		t.Errorf("stats %+v", s)
	}
	// Nothing was dropped to make room.
	if info := rig.TheStream(t, js).CachedInfo(); info.State.FirstSeq != 1 || info.State.NumDeleted != 0 {
		t.Errorf("stream state %+v", info.State)
	}
}

// The server's own refusal is understood too, when others have filled the stream.
func TestPublishFullByOthers(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0", MaxBytes: 16 << 20})
	_, js := rig.Client(t, srv.URL())
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("a")); err != nil { // reads the fill
		t.Fatal(err)
	}
	var err error
	for n := 200 << 10; n > 100; n /= 2 {
		for err = nil; err == nil; {
			_, err = js.Publish(rig.Within(t), "revocations.v1.other", make([]byte, n))
		}
	}
	_, err = b.Publish(rig.Within(t), rig.TokenEvent("b"))
	api := (*jetstream.APIError)(nil)
	if !errors.Is(err, bus.ErrFull) || !errors.As(err, &api) || api.ErrorCode != 10077 {
		t.Errorf("error %v", err)
	}
}

func TestPublishNoStream(t *testing.T) {
	rig.NoLeaks(t)
	srv := rig.StartEmbedded(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	conn := bus.Config{Servers: srv.URL()}
	b := rig.Join(t, conn, bus.Config{}, nil)
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); !errors.Is(err, bus.ErrNoStream) || errors.Is(err, bus.ErrNotAcknowledged) {
		t.Errorf("error %v", err)
	}
	if _, err := b.PublishAll(rig.Within(t), []revoke.Event{rig.TokenEvent("x")}); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("error %v", err)
	}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, conn), bus.StreamConfig{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	rig.AskUntil(t, "the new stream is found", func(ctx context.Context) error {
		_, err := b.Publish(ctx, rig.TokenEvent("x"))
		return err
	})
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("x")); !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("after the stream was deleted: %v", err)
	}
}

// An event never lands in a stream that others follow, or nobody: the one named has
// to hold the subject.
func TestPublishSubjectMoved(t *testing.T) {
	rig.NoLeaks(t)
	srv, b := rig.Publishing(t, embedded.Config{Listen: "127.0.0.1:0"})
	_, js := rig.Client(t, srv.URL())
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("a")); err != nil { // reads the stream, so that it is not read again at once
		t.Fatal(err)
	}
	c := rig.TheStream(t, js).CachedInfo().Config
	if err := js.DeleteStream(rig.Within(t), c.Name); err != nil {
		t.Fatal(err)
	}
	c.Name = "OTHER"
	other, err := js.CreateStream(rig.Within(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(rig.Within(t), rig.TokenEvent("b")); !errors.Is(err, bus.ErrStreamUnsafe) && !errors.Is(err, bus.ErrNoStream) {
		t.Errorf("error %v", err)
	}
	if info, err := other.Info(rig.Within(t)); err != nil || info.State.LastSeq != 0 {
		t.Errorf("the other stream has taken %+v, %v", info.State, err)
	}
}

// serverWithUsers starts a server where user sessions may publish session events,
// heartbeats and requests for the stream's state only.
func serverWithUsers(t *testing.T) (url string) {
	t.Helper()
	opts := &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
		Users: []*server.User{
			{Username: "admin", Password: "a"},
			{Username: "sessions", Password: "s", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: []string{bus.Subject(rig.Issuer, revoke.KindSession), bus.HeartbeatSubject, "$JS.API.STREAM.INFO.*"}},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		},
	}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(rig.Deadline) {
		t.Fatal("server not ready")
	}
	return s.ClientURL()
}

// Invariant 9: a connection without the right to publish hears why, after one attempt.
func TestPublishNotPermitted(t *testing.T) {
	rig.NoLeaks(t)
	url := serverWithUsers(t)
	admin := bus.Config{Servers: strings.Replace(url, "//", "//admin:a@", 1)}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, admin), bus.StreamConfig{Replicas: 1, MaxBytes: 16 << 20}); err != nil {
		t.Fatal(err)
	}
	b := rig.Join(t, bus.Config{Servers: strings.Replace(url, "//", "//sessions:s@", 1)}, bus.Config{}, nil)
	if _, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "sid"}); err != nil {
		t.Errorf("permitted: %v", err)
	}
	_, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindIssuer})
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("not permitted: %v", err)
	}
}
