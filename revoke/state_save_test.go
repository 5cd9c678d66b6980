package revoke_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// stateful returns a List with that state file, and what it logs.
func stateful(t testing.TB, path string) (*revoke.List, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	l, err := revoke.NewList(revoke.Config{StateFile: path, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return l, &log
}

// freshen makes l fresh, as a bus would, and leaves it.
func freshen(t testing.TB, l *revoke.List) {
	t.Helper()
	f, err := replica.NewFeed(l)
	if err != nil {
		t.Fatal(err)
	}
	now := revoke.Now()
	sub := f.Begin(now, replica.LogInfo{Retention: revoke.DefaultRetention()})
	f.Sent(now, [16]byte{1})
	if err := f.Heartbeat(now, replica.Record{Generation: sub.Generation, Delivery: 1, Sequence: 1, Time: now.Time()}, replica.Heartbeat{Nonce: [16]byte{1}, Time: now.Time()}); err != nil {
		t.Fatal(err)
	}
	if s := l.Status(now); s.State != revoke.StateFresh {
		t.Fatalf("%+v", s)
	}
	if !l.Ready(revoke.Deny()) {
		t.Error("fresh and not ready")
	}
	f.Close(now)
	if l.Ready(revoke.InsecureAllow()) {
		t.Error("ready, and nobody feeds it any more")
	}
}

// secretive are events of every kind, and one token that each of them revokes.
func secretive(t testing.TB, l *revoke.List) (refused []revoke.Identity, spared revoke.Identity) {
	t.Helper()
	now := revoke.Now()
	iat := now.Time().Add(-time.Minute)
	for _, e := range []revoke.Event{
		{Kind: revoke.KindToken, Value: "secret-jti"},
		{Kind: revoke.KindSession, Value: "secret-sid"},
		{Kind: revoke.KindSubject, Value: "secret-sub", Keep: []string{"kept-1", "kept-2"}},
		{Kind: revoke.KindSubject, Value: "secret-sub", Keep: []string{"kept-1", "kept-3"}},
		{Kind: revoke.KindClient, Value: "secret-client"},
		{Kind: revoke.KindTenant, Value: "secret-tenant"},
		{Kind: revoke.KindKey, Value: thumbprint},
	} {
		e.Issuer = iss
		if err := l.Apply(now, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Apply(now, revoke.Event{Issuer: iss + "/other", Kind: revoke.KindIssuer}); err != nil {
		t.Fatal(err)
	}
	refused = []revoke.Identity{
		{Issuer: iss, Token: "secret-jti", IssuedAt: iat},
		{Issuer: iss, Session: "secret-sid", IssuedAt: iat},
		{Issuer: iss, Subject: "secret-sub", Session: "another", IssuedAt: iat},
		{Issuer: iss, Subject: "secret-sub", Session: "kept-2", IssuedAt: iat}, // the second event does not keep it
		{Issuer: iss, Client: "secret-client", IssuedAt: iat},
		{Issuer: iss, Tenant: "secret-tenant", IssuedAt: iat},
		{Issuer: iss, Key: thumbprint, IssuedAt: iat},
		{Issuer: iss + "/other", Token: "x", IssuedAt: iat},
	}
	return refused, revoke.Identity{Issuer: iss, Subject: "secret-sub", Session: "kept-1", IssuedAt: iat}
}

func requireKnown(t testing.TB, l *revoke.List, refused []revoke.Identity, spared revoke.Identity) {
	t.Helper()
	for _, id := range refused {
		if err := l.Check(revoke.Now(), &id, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
			t.Errorf("%+v passes: %v", id, err)
		}
	}
	later := revoke.Identity{Issuer: iss, Subject: "secret-sub", Client: "secret-client", IssuedAt: time.Now().Add(time.Hour)}
	for _, id := range []revoke.Identity{spared, later} {
		if err := l.Check(revoke.Now(), &id, revoke.InsecureAllow()); err != nil {
			t.Errorf("%+v: %v", id, err)
		}
	}
}

// What is known survives a restart without a bus, whole and no more than that
// (invariants 3 and 5); nothing of it is proof (invariant 1); and the file tells
// nobody what it is about (invariant 10).
func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revocations.state")
	l, _ := stateful(t, path)
	if s := l.StateFile(); s != (revoke.StateFileStatus{}) {
		t.Errorf("without a file: %+v", s)
	}
	refused, spared := secretive(t, l)
	for i := range 5000 { // through several compactions
		if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: fmt.Sprint("sid-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a List that was never fresh has written its file: %v", err)
	}
	if l.Ready(revoke.Deny()) || l.Ready(revoke.InsecureAllow()) {
		t.Error("ready, and knows nothing")
	}
	freshen(t, l)
	for range 3 {
		if err := l.SaveState(revoke.Now()); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		entries, _ := os.ReadDir(filepath.Dir(path))
		if len(entries) != 2 { // the lock
			t.Errorf("left behind: %v", entries)
		}
		if s := l.StateFile(); s.Saved.IsZero() || s.Bytes != info.Size() || s.Err != nil || s.Failures != 0 {
			t.Errorf("%+v, %d bytes", s, info.Size())
		}

		l, _ = stateful(t, path) // a restart, and two more
		requireKnown(t, l, refused, spared)
		for i := range 5000 {
			id := revoke.Identity{Issuer: iss, Session: fmt.Sprint("sid-", i)}
			if err := l.Check(revoke.Now(), &id, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
				t.Fatalf("%s passes: %v", id.Session, err)
			}
		}
		if s := l.StateFile(); !s.Restored || s.Entries < 5007 || s.Entries > 5010 || s.Ignored != nil {
			t.Errorf("%+v", s)
		}
		if s := l.Status(revoke.Now()); s.State != revoke.StateSyncing || !s.Proven.IsZero() {
			t.Errorf("a file proves nothing: %+v", s)
		}
		if err := l.Check(revoke.Now(), &spared, revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
			t.Errorf("under Deny: %v", err)
		}
		if l.Ready(revoke.Deny()) || !l.Ready(revoke.AllowYounger(time.Minute)) {
			t.Error("ready under Deny, or not ready under another policy")
		}
		if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSession, Value: "since"}); err != nil {
			t.Fatal(err)
		}
	}
	freshen(t, l)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"secret", "kept", "example", "sid-", thumbprint} {
		if bytes.Contains(data, []byte(word)) {
			t.Errorf("the file holds %q", word)
		}
	}
}

// A cutoff's life is not shortened by a clock that was set back, nor ended by one
// that is ahead, before the stream has told its time (invariant 3).
func TestStateFileKeepsUntilTheStreamSpeaks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	refused, spared := secretive(t, l)
	freshen(t, l)
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	l, _ = stateful(t, path)
	requireKnown(t, l, refused, spared)
	ahead := revoke.Now()
	ahead.Wall += int64(5 * 365 * 24 * time.Hour)
	for range 3 {
		if err := l.Check(ahead, &refused[1], revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
			t.Fatalf("forgotten by a clock that is ahead: %v", err)
		}
	}
}

// checksummed ends data as a state file ends.
func checksummed(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(bytes.Clone(data), sum[:]...)
}

// Invariant 7: a file that is not what was written is ignored, says why, and is
// replaced when more is known. Its good twin is the first.
func TestStateFileIgnored(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	l, _ := stateful(t, good)
	refused, spared := secretive(t, l)
	freshen(t, l)
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	body := data[:len(data)-sha256.Size]
	write := func(data []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, data, 0o600) }
	}
	edit := func(at int, b byte) []byte {
		d := bytes.Clone(body)
		d[at] ^= b
		return checksummed(d)
	}
	cases := map[string]func(string) error{
		"":                         write(data),
		"wrong checksum":           write(append(bytes.Clone(data[:len(data)-1]), data[len(data)-1]^1)),
		"not a state file":         write([]byte("a text that is none of ours, and long enough")),
		"version 3":                write(edit(8, 2)),
		"made otherwise":           write(edit(16, 1)),
		"impossible time":          write(edit(55, 0x70)),
		"unknown kind 0":           write(edit(72+8+2, byte(kindOf(data)))),
		"something follows":        write(append(bytes.Clone(data), 0)),
		"cut short after 0 bytes":  write(nil),
		"cut short after 7 bytes":  write(data[:7]),
		"cut short":                write(data[:len(data)-40]),
		"cut short after its end?": write(data[:len(data)-1]),
		"more than 1073741824": func(path string) error {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return err
			}
			return os.Truncate(path, 1<<30+1) // sparse
		},
		"not a regular file": func(path string) error { return os.Mkdir(path, 0o700) },
		"others can write": func(path string) error {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o622)
		},
	}
	for want, make := range cases {
		path := filepath.Join(t.TempDir(), "state")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		l, log := stateful(t, path)
		s := l.StateFile()
		if want == "" {
			if s.Ignored != nil || !s.Restored || s.Failures != 0 {
				t.Errorf("the good twin: %+v", s)
			}
			requireKnown(t, l, refused, spared)
			continue
		}
		want = strings.TrimSuffix(want, " after its end?")
		if !errors.Is(s.Ignored, revoke.ErrStateFile) || !strings.Contains(fmt.Sprint(s.Ignored), want) || s.Restored || s.Failures != 1 {
			t.Errorf("%s: %+v", want, s)
		}
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s: log %q", want, log)
		}
		if err := l.Check(revoke.Now(), &refused[0], revoke.InsecureAllow()); err != nil {
			t.Errorf("%s: half of it is believed: %v", want, err)
		}
		if l.Ready(revoke.InsecureAllow()) {
			t.Errorf("%s: ready", want)
		}
		if want == "not a regular file" {
			continue
		}
		secretive(t, l)
		freshen(t, l)
		if err := l.SaveState(revoke.Now()); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		again, _ := stateful(t, path)
		requireKnown(t, again, refused, spared)
	}
}

// kindOf returns the kind of the first entry of a state file.
func kindOf(data []byte) int { return int(data[72+8+2] & 7) }

// Every cut and every flipped bit is noticed, and none is fatal.
func TestStateFileDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	refused, spared := secretive(t, l)
	freshen(t, l)
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, at int, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if l, _ := stateful(t, path); !errors.Is(l.StateFile().Ignored, revoke.ErrStateFile) {
			t.Fatalf("%s at %d: %+v", what, at, l.StateFile())
		}
	}
	for i := range data {
		try("cut", i, data[:i])
		flipped := bytes.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		try("flipped", i, flipped)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	l, _ = stateful(t, path)
	requireKnown(t, l, refused, spared)
}

// A file that cannot be written is reported, counted, logged once, and written when
// that works again; what is known is not touched by it.
func TestStateFileNotWritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	path := filepath.Join(dir, "state")
	l, log := stateful(t, path)
	refused, spared := secretive(t, l)
	freshen(t, l)
	for i := range 3 {
		err := l.SaveState(revoke.Now())
		if err == nil {
			t.Fatal("written nowhere")
		}
		if s := l.StateFile(); s.Err == nil || s.Failures != uint64(i+1) || !s.Saved.IsZero() {
			t.Errorf("%+v", s)
		}
	}
	if n := strings.Count(log.String(), "will be forgotten"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log)
	}
	requireKnown(t, l, refused, spared)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.SaveState(revoke.Now()); err != nil {
		t.Fatal(err)
	}
	if s := l.StateFile(); s.Err != nil || s.Saved.IsZero() {
		t.Errorf("%+v", s)
	}
	saved := l.StateFile().Saved
	if err := l.SaveState(revoke.Now()); err != nil || l.StateFile().Saved != saved {
		t.Errorf("written again for nothing: %v", err)
	}
	again, _ := stateful(t, path)
	requireKnown(t, again, refused, spared)
}

// Saving beside Apply and Check takes no event apart (invariant 4), and a later save
// has what an earlier one missed.
func TestStateFileWhileApplying(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	l, _ := stateful(t, path)
	freshen(t, l)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			if err := l.Apply(revoke.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindSubject, Value: fmt.Sprint("u-", i%5000), Keep: []string{fmt.Sprint("k-", i%7)}}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if err := l.SaveState(revoke.Now()); err != nil {
			t.Fatal(err)
		}
		if again, _ := stateful(t, path); again.StateFile().Ignored != nil {
			t.Fatal(again.StateFile().Ignored)
		}
	}
	again, _ := stateful(t, path)
	for i := range 5000 {
		id := revoke.Identity{Issuer: iss, Subject: fmt.Sprint("u-", i), IssuedAt: time.Now().Add(-time.Minute)}
		if err := again.Check(revoke.Now(), &id, revoke.InsecureAllow()); !errors.Is(err, revoke.ErrRevoked) {
			t.Fatalf("%s passes: %v", id.Subject, err)
		}
	}
}
