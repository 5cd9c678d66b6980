package publish

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unpackInto opens the outbox for a publisher whose Member is closed, so that nothing is
// sent, and returns what it logs.
func unpackInto(t *testing.T, path string) (p *Publisher, logged *bytes.Buffer) {
	t.Helper()
	p = newTestPublisher()
	logged = new(bytes.Buffer)
	p.t.Log = slog.New(slog.NewTextHandler(logged, nil))
	p.issuers = []string{testIssuer}
	if err := p.unpack(path); err != nil {
		t.Fatalf("the service does not start: %v", err)
	}
	t.Cleanup(p.outbox.close)
	return p, logged
}

// A service starts whatever has become of its outbox; the damaged file is kept as it was,
// under a name that is told, and the new one is whole.
func TestOutboxDamagedIsSetAside(t *testing.T) {
	sample, _ := sampleOutbox(t)
	for name, damage := range map[string]func(b []byte) []byte{
		"a bit in the head":   func(b []byte) []byte { b[12] ^= 1; return b },
		"zeros over the head": func(b []byte) []byte { clear(b[:64]); return b },
		"a run of zeros": func(b []byte) []byte {
			i := bytes.IndexByte(b, '\n') + 1
			return concat(b[:i], make([]byte, 300<<10), b[i:])
		},
		"all zeros": func(b []byte) []byte { clear(b); return b },
		"all ones":  func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) },
		"head only": func(b []byte) []byte { return append([]byte{b[0] ^ 1}, b[1:bytes.IndexByte(b, '\n')+1]...) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox")
			damaged := damage(bytes.Clone(sample))
			for round := range 2 { // a second accident does not write over the first
				write(t, path, damaged)
				p, logged := unpackInto(t, path)
				s := p.Status()
				if s.OutboxDamaged == 0 || s.OutboxErr != nil || s.OutboxSetAside != fmt.Sprintf("%s.damaged.%d", path, round+1) {
					t.Fatalf("stats %+v", s)
				}
				if !strings.Contains(logged.String(), "level=ERROR") || !strings.Contains(logged.String(), s.OutboxSetAside) {
					t.Errorf("logged %q", logged)
				}
				kept, err := os.ReadFile(s.OutboxSetAside)
				if err != nil || !bytes.Equal(kept, damaged) {
					t.Errorf("not kept as it was: %v", err)
				}
				pending, _, _ := p.ledger.pending(time.Now())
				found, _, _, _ := readOutbox(bytes.NewReader(damaged), []string{testIssuer}, time.Now())
				want := 0
				for _, rec := range found {
					if rec.seq == 0 {
						want++
					}
				}
				if len(pending) != want || len(p.ledger.alive) != len(found) {
					t.Errorf("%d to be published again, want %d; %d known, want %d", len(pending), want, len(p.ledger.alive), len(found))
				}
				if err := p.outbox.put(time.Now(), outboxRecord(t, "new")); err != nil {
					t.Error(err)
				}
				p.outbox.close()
			}
			again, logged := unpackInto(t, path)
			if s := again.Status(); s.OutboxDamaged != 0 || s.OutboxSetAside != "" || strings.Contains(logged.String(), "ERROR") {
				t.Errorf("the new file: %+v, %s", s, logged)
			}
		})
	}
}

// An empty file was an outbox once, or never: there is nothing to keep, and it is told.
func TestOutboxEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	write(t, path, nil)
	p, logged := unpackInto(t, path)
	if s := p.Status(); s.OutboxDamaged != 1 || s.OutboxSetAside != "" || s.OutboxErr != nil || !strings.Contains(logged.String(), "empty") {
		t.Errorf("%+v, %s", s, logged)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); len(entries) != 2 || err != nil { // the lock
		t.Errorf("%v, %v", entries, err)
	}
	// The good twin: none yet.
	p, logged = unpackInto(t, path+"2")
	if s := p.Status(); s.OutboxDamaged != 0 || s.OutboxErr != nil || logged.Len() > 0 {
		t.Errorf("%+v, %s", s, logged)
	}
}

// Where the damaged file cannot be kept it stays where it is, and what comes is written
// behind it: nothing is written over it.
func TestOutboxCannotSetAside(t *testing.T) {
	sample, _ := sampleOutbox(t)
	damaged := bytes.Clone(sample)
	damaged[12] ^= 1
	path := filepath.Join(t.TempDir(), "outbox")
	write(t, path, damaged)
	for i := range maxAside {
		write(t, fmt.Sprintf("%s.damaged.%d", path, i+1), []byte("of an earlier accident"))
	}
	p, _ := unpackInto(t, path)
	if s := p.Status(); s.OutboxErr == nil || s.OutboxDamaged == 0 || s.OutboxSetAside != "" {
		t.Fatalf("%+v", s)
	}
	rec := outboxRecord(t, "new")
	if !p.keep(rec) {
		t.Error("nothing can be put any more")
	}
	failures := p.Status().OutboxFailures
	if p.settle(rec, 9, 1); p.Status().OutboxFailures != failures {
		t.Error("it is tried to write it anew for each event")
	}
	now, err := os.ReadFile(path)
	if err != nil || !bytes.HasPrefix(now, damaged) {
		t.Errorf("written over: %v", err)
	}
	p.outbox.close()
	p, _ = unpackInto(t, path)
	if n := len(p.ledger.alive); n != 5 {
		t.Errorf("%d alive", n)
	}
}

// copyFile leaves nothing behind that is not whole, and takes nothing's place.
func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	write(t, from, []byte("content"))
	if err := copyFile(from, to); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(to); err != nil || string(data) != "content" {
		t.Fatalf("%q, %v", data, err)
	}
	if err := copyFile(from, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := copyFile(dir, to+"2"); err == nil {
		t.Error("a directory was copied")
	}
	if _, err := os.Stat(to + "2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}
