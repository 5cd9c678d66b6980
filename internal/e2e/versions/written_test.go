package versions_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// writtenBefore reads a sample that the version before has written. What they say ends ten
// years after that.
func writtenBefore(t *testing.T, path ...string) []byte {
	t.Helper()
	if time.Now().After(time.Date(2036, 11, 1, 0, 0, 0, 0, time.UTC)) {
		t.Fatal("the revocations of the samples have ended: write them anew, see testdata/written/README.md")
	}
	dir := filepath.Join(append([]string{"..", "..", ".."}, path[:len(path)-1]...)...)
	data, err := os.ReadFile(filepath.Join(dir, "testdata", "written-by-601627d", path[len(path)-1]))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// replay makes a stream of the settings and messages that a sample holds.
func replay(t *testing.T, js jetstream.JetStream, config, messages []byte) (stored []*nats.Msg) {
	t.Helper()
	var c jetstream.StreamConfig
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	for key := range c.Metadata {
		if strings.HasPrefix(key, "_nats.") { // the server's own
			delete(c.Metadata, key)
		}
	}
	if _, err := js.CreateStream(rig.Within(t), c); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(messages) {
		var m struct {
			Subject, Data string
			Header        nats.Header
		}
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		msg := &nats.Msg{Subject: m.Subject, Header: m.Header, Data: []byte(m.Data)}
		msg.Header.Del(jetstream.ExpectedLastSubjSeqHeader) // it was so when it was written
		if _, err := js.PublishMsg(rig.Within(t), msg); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, msg)
	}
	if len(stored) == 0 {
		t.Fatal("an empty sample")
	}
	return stored
}

// A stream of the version before is followed by this one: replicas are fresh, refuse what
// it revokes and nothing else, and its signatures count.
func TestStreamOfTheVersionBefore(t *testing.T) {
	br := rig.NewBroker(t, nil)
	_, js := rig.Client(t, br.URL())
	replay(t, js, writtenBefore(t, "bus", "stream-config.json"), writtenBefore(t, "bus", "stream.jsonl"))
	var about struct{ Signer string }
	if err := json.Unmarshal(writtenBefore(t, "bus", "about.json"), &about); err != nil {
		t.Fatal(err)
	}
	public, err := base64.StdEncoding.DecodeString(about.Signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]bus.Config{"": {}, "with trust": {Trust: []ed25519.PublicKey{public}}} {
		conn := rig.Dial(t, br.URL())
		l := rig.NewList(t, ofOlderStream())
		f := rig.Join(t, conn, cfg, l)
		rig.WaitFresh(t, f)
		if s := f.Status(); s.State != revoke.StateFresh || s.Degraded {
			t.Errorf("%s: %+v", name, s)
		}
		id := func(change func(*revoke.Identity)) revoke.Identity {
			id := rig.Session("other")
			change(&id)
			return id
		}
		old := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC) // before the cutoffs, after that of the issuer
		refused := map[string]revoke.Identity{
			"token": id(func(id *revoke.Identity) { id.Token = "jti-1" }), "session": rig.Session("session-1"), "by hand": rig.Session("by-hand"),
			"subject": id(func(id *revoke.Identity) { id.Subject, id.IssuedAt = "user-1", old }), "not kept": id(func(id *revoke.Identity) { id.Subject, id.Session, id.IssuedAt = "user-1", "kept-3", old }),
			"subject with a strange name": id(func(id *revoke.Identity) { id.Subject, id.IssuedAt = "user-ü \"quoted\" \u0001", old }),
			"client":                      id(func(id *revoke.Identity) { id.Client, id.IssuedAt = "client-1", old }), "tenant": id(func(id *revoke.Identity) { id.Tenant, id.IssuedAt = "tenant-1", old }),
			"key": id(func(id *revoke.Identity) { id.Key = strings.Repeat("B", 42) + "A" }), "issuer": id(func(id *revoke.Identity) { id.IssuedAt = old.Add(-time.Hour) }),
			"in bulk": rig.Session("many-a"), "last in bulk": rig.Session("many-t"),
		}
		passes := map[string]revoke.Identity{
			"other": rig.Session("other"), "an old one": id(func(id *revoke.Identity) { id.IssuedAt = old }), "kept": id(func(id *revoke.Identity) { id.Subject, id.Session, id.IssuedAt = "user-1", "kept-2", old }),
		}
		if time.Now().After(time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)) { // not on the day of the sample itself
			for what, change := range map[string]func(*revoke.Identity){
				"subject": func(id *revoke.Identity) { id.Subject = "user-1" }, "client": func(id *revoke.Identity) { id.Client = "client-1" }, "tenant": func(id *revoke.Identity) { id.Tenant = "tenant-1" },
			} {
				passes["a new login, "+what] = id(change)
			}
		}
		for what, id := range refused {
			if err := rig.Check(l, id); !errors.Is(err, revoke.ErrRevoked) {
				t.Errorf("%s%s: %v, want it revoked", name, what, err)
			}
		}
		for what, id := range passes {
			if err := rig.Check(l, id); err != nil {
				t.Errorf("%s%s: %v", name, what, err)
			}
		}
	}
	// And the stream goes on being used.
	l := rig.NewList(t, ofOlderStream())
	b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "by this version"})
	rig.WaitFresh(t, b)
	rig.Barrier(t, b)
	rig.MustRefuse(t, l, rig.Session("by this version"), rig.Session("session-1"))
	var c jetstream.StreamConfig
	if err := json.Unmarshal(writtenBefore(t, "bus", "stream-config.json"), &c); err != nil {
		t.Fatal(err)
	}
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, rig.Dial(t, br.URL())), bus.StreamConfig{
		Replicas: 1, MaxBytes: c.MaxBytes, Retention: revoke.Retention{TokenLifetime: time.Hour, SessionLifetime: 3652 * 24 * time.Hour},
	}); err != nil {
		t.Errorf("an operator's tool that makes the stream at each start: %v", err)
	}
}

// Outboxes of the version before are taken over: what waits in them is published, what
// the stream has is not published again, what it has lost is.
func TestOutboxOfTheVersionBefore(t *testing.T) {
	t.Parallel() // its cases wait, mostly
	for name, want := range map[string]struct {
		pending []revoke.Identity
		losses  bool // the stream is not the one that the sample was acknowledged by
	}{
		"outbox-clean":     {},
		"outbox-compacted": {losses: true}, // it knows of one event more
		"outbox-lost":      {losses: true},
		"outbox-pending":   {losses: true, pending: []revoke.Identity{rig.Session("pending"), {Issuer: rig.Issuer, Token: "pending-jti", IssuedAt: time.Now()}, {Issuer: rig.Issuer, Subject: "pending-user", IssuedAt: time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)}}},
		"outbox-early":     {pending: []revoke.Identity{rig.Session("early")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the stream is looked at every half a minute
			br := rig.NewBroker(t, nil)
			_, js := rig.Client(t, br.URL())
			stored := replay(t, js, writtenBefore(t, "bus", "stream-config.json"), writtenBefore(t, "bus", "stream.jsonl"))
			file := filepath.Join(t.TempDir(), "outbox")
			if err := os.WriteFile(file, writtenBefore(t, "bus", name), 0o600); err != nil {
				t.Fatal(err)
			}
			l := rig.NewList(t, ofOlderStream())
			f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
			rig.WaitFresh(t, f)
			rig.MustPass(t, l, want.pending...)
			b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: file}, nil)
			rig.Eventually(t, "the stream was looked at, and nothing is left to publish", func() bool {
				s := b.Status().Publishing
				return (s.Losses > 0 || !want.losses && !s.Checked.IsZero()) && s.Pending == 0
			})
			s := b.Status().Publishing
			if !want.losses && (s.Losses != 0 || s.Republished != 0) || s.OutboxFailures != 0 {
				t.Errorf("stats %+v", s)
			}
			rig.Barrier(t, f)
			rig.MustRefuse(t, l, want.pending...)
			if last := lastEvents(t, js); !want.losses && last != uint64(events(stored)+len(want.pending)) {
				t.Errorf("%d events in the stream, %d were there and %d pending", last, events(stored), len(want.pending))
			}
			if want.losses {
				rig.Eventually(t, "what the outbox knows beyond the stream is published again", func() bool { return rig.Refused(l, rig.Session("after the compaction")) })
			}
		})
	}
}

func events(list []*nats.Msg) (n int) {
	for _, m := range list {
		if m.Subject != bus.HeartbeatSubject {
			n++
		}
	}
	return n
}

// lastEvents counts the events of the stream.
func lastEvents(t *testing.T, js jetstream.JetStream) (n uint64) {
	t.Helper()
	info, err := rig.TheStream(t, js).Info(rig.Within(t), jetstream.WithSubjectFilter("revocations.v1.*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range info.State.Subjects {
		n += k
	}
	return n
}

// A bucket of sessions of the version before is opened, read and written.
func TestBucketOfTheVersionBefore(t *testing.T) {
	br := rig.NewBroker(t, nil)
	nc, js := rig.Client(t, br.URL(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.PingInterval(2*time.Second))
	stored := replay(t, js, writtenBefore(t, "refresh", "natskv", "bucket-config.json"), writtenBefore(t, "refresh", "natskv", "bucket.jsonl"))
	var log rig.Journal
	store, err := natskv.New(rig.Within(t), nc, natskv.Config{Logger: log.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	if err := natskv.CreateBucket(rig.Within(t), nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 1 << 20}); err != nil {
		t.Errorf("an operator's tool that makes the bucket at each start: %v", err)
	}
	prefix := "$KV.sessions."
	records := 0
	for _, m := range stored {
		key := strings.TrimPrefix(m.Subject, prefix)
		if len(m.Data) == 0 { // of New's trial
			continue
		}
		records++
		r, err := store.Load(rig.Within(t), key)
		if err != nil || !bytes.Equal(r.Value, m.Data) {
			t.Fatalf("%s: %v\n%s\nwas\n%s", key, err, r.Value, m.Data)
		}
		next := slices.Concat(r.Value, []byte(" "))
		revision, err := store.Save(rig.Within(t), key, next, r.Revision, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := store.Load(rig.Within(t), key); err != nil || !bytes.Equal(r.Value, next) || r.Revision != revision {
			t.Errorf("%s, written again: %v", key, err)
		}
	}
	if records != 14 {
		t.Errorf("%d records", records)
	}
}

// ofOlderStream is what a List of a stream is that says nothing of clocks: MaxSkew is 2 s.
func ofOlderStream() revoke.Config {
	return revoke.Config{HeartbeatInterval: rig.Quick.HeartbeatInterval, MaxSkew: 2 * time.Second}
}
