package e2e_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
)

// The directory that the samples are written to.
var writtenDir = os.Getenv("HYBRIDTOKEN_SAMPLES")

func write(t *testing.T, data []byte, path ...string) {
	t.Helper()
	name := filepath.Join(append([]string{writtenDir}, path...)...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, v any, path ...string) {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	write(t, append(data, '\n'), path...)
}

func try[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestWriteClocked writes what has times in it that readers judge by their own clock. It
// runs on the clock of a synctest bubble, and so do the tests that read.
func TestWriteClocked(t *testing.T) {
	if writtenDir == "" {
		t.Skip("HYBRIDTOKEN_SAMPLES names no directory to write to")
	}
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()

		// Keyrings, and tokens that their keys signed.
		plain, sealed := new(tokens.MemoryStore), new(tokens.MemoryStore)
		seal := try[*tokens.SealKey](t)(tokens.NewSealKey("sample", []byte("thirty-two bytes of no secret 01")))
		ring := try[*tokens.Keyring](t)(tokens.OpenKeyring(ctx, plain, tokens.KeyringConfig{}))
		other := try[*tokens.Keyring](t)(tokens.OpenKeyring(ctx, sealed, tokens.KeyringConfig{Algorithm: tokens.ES256, SealKeys: []*tokens.SealKey{seal}}))
		defer ring.Close()
		defer other.Close()
		issuerOf := func(r *tokens.Keyring) *tokens.Issuer {
			return try[*tokens.Issuer](t)(tokens.NewIssuer(tokens.IssuerConfig{Issuer: issuer, Keys: r}))
		}
		requests := map[string]tokens.IssueRequest{
			"plain":      {Subject: "user-1", Client: "web", Session: "session-1", Audience: []string{"api"}, Tenant: "acme", Scope: []string{"read", "write"}, Claims: map[string]any{"role": "admin"}},
			"bound":      {Subject: "user-2", Client: "app", Session: "session-2", Audience: []string{"api"}, Binding: tokens.Binding{KeyThumbprint: strings.Repeat("A", 43)}},
			"client":     {Subject: "batch", Client: "batch", Audience: []string{"api"}},
			"post-dated": {Subject: "user-1", Client: "web", Session: "session-3", Audience: []string{"api"}, IssuedAt: time.Now().Add(2001 * time.Millisecond)},
		}
		signed := map[string]string{}
		sign := func(suffix string) {
			for name, r := range requests {
				if !r.IssuedAt.IsZero() {
					r.IssuedAt = time.Now().Add(2001 * time.Millisecond)
				}
				signed[name+suffix] = try[*tokens.Issued](t)(issuerOf(ring).Issue(ctx, r)).Token()
			}
			signed["es256"+suffix] = try[*tokens.Issued](t)(issuerOf(other).Issue(ctx, requests["plain"])).Token()
		}
		time.Sleep(25 * time.Hour) // the announced key is ripe
		sign(", by a retired key")
		for _, r := range []*tokens.Keyring{ring, other} {
			try[*tokens.Key](t)(r.Rotate(ctx))
		}
		time.Sleep(time.Minute)
		sign("")
		for name, r := range map[string]*tokens.Keyring{"plain": ring, "sealed": other} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest("GET", "/jwks.json", nil))
			write(t, w.Body.Bytes(), "token", "jwks-"+name+".json")
		}
		blob, _, err := plain.Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		write(t, blob, "token", "ring-plain.json")
		blob, _, err = sealed.Load(ctx)
		if err != nil {
			t.Fatal(err)
		}
		write(t, blob, "token", "ring-sealed.json")
		writeJSON(t, signed, "token", "tokens.json")
		at := time.Now()
		writeJSON(t, map[string]any{"written_ms": at.UnixMilli(), "active": map[string]string{"plain": ring.Active().ID(), "sealed": other.Active().ID()}}, "token", "about.json")

		// A state file: one entry at least of each kind.
		dir := t.TempDir()
		list := try[*revoke.List](t)(revoke.NewList(revoke.Config{Local: true, StateFile: filepath.Join(dir, "state")}))
		events := []revoke.Event{
			{Kind: revoke.Token, Value: "jti-1", Until: at.Add(time.Hour)},
			{Kind: revoke.Session, Value: "session-9"},
			{Kind: revoke.Subject, Value: "user-9", Before: at, Keep: []string{"kept-1", "kept-2"}},
			{Kind: revoke.Subject, Value: "user-9", Before: at.Add(-time.Minute), Keep: []string{"kept-2", "kept-3"}},
			{Kind: revoke.Client, Value: "client-9", Before: at},
			{Kind: revoke.Tenant, Value: "tenant-9", Before: at},
			{Kind: revoke.Key, Value: strings.Repeat("B", 42) + "A"},
			{Kind: revoke.Issuer, Before: at.Add(-time.Hour)},
		}
		for i := range 100 {
			events = append(events, revoke.Event{Kind: revoke.Session, Value: "many-" + string(rune('a'+i%26)) + string(rune('a'+i/26))})
		}
		for _, e := range events {
			e.Issuer = issuer
			if err := list.Apply(revoke.Now(), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.SaveState(revoke.Now()); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(dir, "state"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, data, "revoke", "state")
		writeJSON(t, map[string]any{"written_ms": at.UnixMilli(), "entries": 107}, "revoke", "about.json")

		writeSessions(t, ring)
	})
}

// A keeper is a store that remembers, and a publisher that fails on demand.
type keeper struct {
	refresh.Store
	mu      sync.Mutex
	records map[string]kept
	fail    bool
	events  []revoke.Event
}

type kept struct {
	Value   json.RawMessage `json:"value"`
	Expires int64           `json:"expires_ms"`
}

func (k *keeper) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n, err := k.Store.Save(ctx, key, value, revision, expires)
	if err == nil {
		k.mu.Lock()
		k.records[key] = kept{bytes.Clone(value), expires.UnixMilli()}
		k.mu.Unlock()
	}
	return n, err
}

func (k *keeper) Publish(_ context.Context, e revoke.Event) (revoke.Receipt, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail {
		return revoke.Receipt{}, errors.New("no bus")
	}
	k.events = append(k.events, e)
	return revoke.Receipt{Event: e}, nil
}

func writeSessions(t *testing.T, ring *tokens.Keyring) {
	ctx := t.Context()
	k := &keeper{Store: refresh.NewMemoryStore(), records: map[string]kept{}}
	list := try[*revoke.List](t)(revoke.NewList(revoke.Config{Local: true}))
	m := try[*refresh.Manager](t)(refresh.NewManager(refresh.Config{
		Issuer: try[*tokens.Issuer](t)(tokens.NewIssuer(tokens.IssuerConfig{Issuer: issuer, Keys: ring})),
		Store:  k, Publisher: k, Revocations: list, Lifetimes: refresh.Web,
	}))
	defer m.Close()
	refreshTokens, sids := map[string]string{}, map[string]string{}
	login := func(name, subject string, change func(*refresh.Login)) *refresh.Grant {
		l := refresh.Login{Subject: subject, Client: "web", Audience: []string{"api"}, Scope: []string{"read", "write"}, AuthTime: time.Now(),
			Tenant: "acme", ACR: "gold", AMR: []string{"pwd", "otp"}, Claims: map[string]any{"role": "admin"}, Device: refresh.Device{Label: "phone", Address: "192.0.2.1"}}
		if change != nil {
			change(&l)
		}
		g := try[*refresh.Grant](t)(m.Login(ctx, l))
		refreshTokens[name], sids[name] = g.RefreshToken(), g.SessionID
		return g
	}
	rotate := func(name string, g *refresh.Grant) *refresh.Grant {
		next := try[*refresh.Grant](t)(m.Refresh(ctx, g.RefreshToken()))
		refreshTokens[name] = next.RefreshToken()
		return next
	}
	login("never refreshed", "user-1", nil)
	login("bound to a key", "user-1", func(l *refresh.Login) { l.Binding = tokens.Binding{KeyThumbprint: strings.Repeat("A", 43)} })
	g := login("refreshed, predecessor's predecessor", "user-1", nil)
	sids["refreshed"] = g.SessionID
	time.Sleep(time.Minute)
	g = rotate("refreshed, predecessor", g)
	time.Sleep(time.Minute)
	ended := login("ended", "user-2", nil)
	pending := login("ended, not published", "user-2", nil)
	stolen := login("stolen", "user-3", nil)
	first := login("everywhere, kept", "user-4", nil)
	login("everywhere, not kept", "user-4", nil)
	half := login("everywhere, not published", "user-5", nil)
	time.Sleep(time.Minute)
	if err := m.Logout(ctx, ended.SessionID); err != nil {
		t.Fatal(err)
	}
	rotate("stolen, successor", stolen)
	time.Sleep(time.Minute)
	if _, err := m.Refresh(ctx, stolen.RefreshToken()); !errors.Is(err, refresh.ErrReplayed) {
		t.Fatalf("a replay: %v", err)
	}
	next := try[*refresh.Grant](t)(m.LogoutAll(ctx, "user-4", refresh.Keep(first.SessionID)))
	refreshTokens["everywhere, kept"] = next.RefreshToken()
	time.Sleep(time.Minute)
	rotate("refreshed", g) // within the window when it is all written down
	k.mu.Lock()
	k.fail = true
	k.mu.Unlock()
	if err := m.Logout(ctx, pending.SessionID); !errors.Is(err, refresh.ErrPending) {
		t.Fatalf("a logout without a bus: %v", err)
	}
	if _, err := m.LogoutAll(ctx, "user-5"); !errors.Is(err, refresh.ErrPending) {
		t.Fatalf("a logout everywhere without a bus: %v", err)
	}
	sids["everywhere, not published"] = half.SessionID
	writeJSON(t, map[string]any{
		"written_ms": time.Now().UnixMilli(), "lifetimes": "Web", "refresh_tokens": refreshTokens, "sessions": sids, "records": k.records,
	}, "refresh", "sessions.json")
}

// A stored message of a stream, as the samples hold it.
type storedMessage struct {
	Sequence uint64              `json:"seq"`
	Time     time.Time           `json:"time"`
	Subject  string              `json:"subject"`
	Header   map[string][]string `json:"header,omitempty"`
	Data     string              `json:"data"`
}

func dump(t *testing.T, js jetstream.JetStream, stream, dir, name string) {
	t.Helper()
	s := try[jetstream.Stream](t)(js.Stream(within(t), stream))
	info := try[*jetstream.StreamInfo](t)(s.Info(within(t)))
	writeJSON(t, info.Config, dir, name+"-config.json")
	var lines bytes.Buffer
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && seq > 0; seq++ {
		m, err := s.GetMsg(within(t), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, added := range []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} { // to the answer
			m.Header.Del(added)
		}
		b := try[[]byte](t)(json.Marshal(storedMessage{m.Sequence, m.Time, m.Subject, m.Header, string(m.Data)}))
		lines.Write(append(b, '\n'))
	}
	write(t, lines.Bytes(), dir, name+".jsonl")
}

// TestWriteServed writes what a server holds, and outboxes of a publisher beside it. What
// it says ends ten years after it was written.
func TestWriteServed(t *testing.T) {
	if writtenDir == "" {
		t.Skip("HYBRIDTOKEN_SAMPLES names no directory to write to")
	}
	br := newBroker(t, nil)
	_, js := plain(t, br.url())
	conn := dial(t, br.url())
	const tenYears = 3652 * 24 * time.Hour
	createStream(t, conn, bus.StreamConfig{Horizons: revoke.Horizons{TokenLifetime: time.Hour, SessionLifetime: tenYears}})
	key := ed25519.NewKeyFromSeed([]byte("a throwaway seed of 32 bytes, 1.")) // signs samples and nothing else
	files := t.TempDir()
	file := filepath.Join(files, "outbox")
	cfg := bus.Config{Issuer: issuer, Name: "sample", OutboxFile: file, Signer: key}
	open := func() *bus.Bus { return try[*bus.Bus](t)(bus.Open(within(t), conn, cfg)) }
	keep := func(name string) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, data, "bus", name)
	}

	b := open()
	l := newList(t, quick)
	f, err := b.Follow(within(t), l)
	if err != nil {
		t.Fatal(err)
	}
	waitFresh(t, f)
	at := time.Now()
	for _, e := range []revoke.Event{
		{Kind: revoke.Token, Value: "jti-1", Until: at.Add(tenYears)},
		{Kind: revoke.Session, Value: "session-1", Reason: "logout", Actor: "user-1"},
		{Kind: revoke.Subject, Value: "user-1", Keep: []string{"kept-1", "kept-2"}, Reason: "password_change"},
		{Kind: revoke.Subject, Value: "user-1", Before: at.Add(-time.Minute), Keep: []string{"kept-2", "kept-3"}},
		{Kind: revoke.Subject, Value: "user-ü \"quoted\" \u0001"},
		{Kind: revoke.Client, Value: "client-1"},
		{Kind: revoke.Tenant, Value: "tenant-1"},
		{Kind: revoke.Key, Value: strings.Repeat("B", 42) + "A", Until: at.Add(tenYears)},
		{Kind: revoke.Issuer, Before: at.Add(-time.Hour)},
	} {
		publish(t, b, e)
	}
	var many []revoke.Event
	for i := range 20 {
		many = append(many, revoke.Event{Kind: revoke.Session, Value: "many-" + string(rune('a'+i))})
	}
	if _, err := b.PublishAll(within(t), many); err != nil {
		t.Fatal(err)
	}
	barrier(t, f)
	// As another program would write it: only what must be there.
	msg := nats.NewMsg(bus.Subject(issuer, revoke.Session))
	msg.Data = []byte(`{"v":1,"iss":"` + issuer + `","kind":"session","value":"by-hand"}`)
	msg.Header.Set(jetstream.MsgTTLHeader, "never")
	if _, err := js.PublishMsg(within(t), msg); err != nil {
		t.Fatal(err)
	}
	barrier(t, f)
	f.Close()
	b.Close()
	dump(t, js, bus.DefaultStream, "bus", "stream")
	keep("outbox-clean")
	b = open()
	publish(t, b, revoke.Event{Kind: revoke.Session, Value: "after the compaction"})
	b.Close()
	keep("outbox-compacted")

	// The stream is lost; the outbox notes it, and what it publishes again.
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	createStream(t, conn, bus.StreamConfig{Horizons: revoke.Horizons{TokenLifetime: time.Hour, SessionLifetime: tenYears}})
	b = open()
	eventually(t, "republished", func() bool { s := b.Stats(); return s.Losses == 1 && s.Pending == 0 && s.Republished > 0 })
	b.Close()
	keep("outbox-lost")

	// Nobody takes these any more.
	b = open()
	eventually(t, "the stream was looked at", func() bool { return !b.Stats().Checked.IsZero() })
	br.stop()
	for _, e := range []revoke.Event{{Kind: revoke.Session, Value: "pending"}, {Kind: revoke.Subject, Value: "pending-user"}, {Kind: revoke.Token, Value: "pending-jti", Until: time.Now().Add(tenYears)}} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if _, err := b.Publish(ctx, e); !errors.Is(err, bus.ErrKept) {
			t.Fatal(err)
		}
		cancel()
	}
	b.Close()
	keep("outbox-pending")
	// Nor this, of a process that has never seen the stream: what it leaves out is filled
	// in when it is sent.
	os.Remove(file)
	b = open()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Publish(ctx, revoke.Event{Kind: revoke.Session, Value: "early"}); !errors.Is(err, bus.ErrKept) {
		t.Fatal(err)
	}
	b.Close()
	keep("outbox-early")
	writeJSON(t, map[string]any{
		"written_ms": at.UnixMilli(), "signer": base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)),
	}, "bus", "about.json")

	// A bucket of sessions.
	br.start()
	nc, kv := plain(t, br.url(), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort())
	if err := natskv.CreateBucket(within(t), nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	store := try[*natskv.Store](t)(natskv.New(within(t), nc, natskv.Config{}))
	data, err := os.ReadFile(filepath.Join(writtenDir, "refresh", "sessions.json")) // TestWriteClocked has written it
	if err != nil {
		t.Fatal(err)
	}
	var sessions struct{ Records map[string]kept }
	if err := json.Unmarshal(data, &sessions); err != nil {
		t.Fatal(err)
	}
	for key, r := range sessions.Records {
		var value bytes.Buffer
		if err := json.Compact(&value, r.Value); err != nil {
			t.Fatal(err)
		}
		n := try[uint64](t)(store.Save(within(t), key, value.Bytes(), 0, at.Add(tenYears)))
		try[uint64](t)(store.Save(within(t), key, value.Bytes(), n, at.Add(tenYears))) // in the place of another
	}
	dump(t, kv, "KV_"+natskv.DefaultBucket, "natskv", "bucket")
}
