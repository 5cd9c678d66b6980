package publish

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A directory that is not there, a disk that takes nothing or cannot keep the damaged
// file: the service starts, says so, forgets nothing of what is there, and goes on as
// soon as that is mended.
func TestOutboxOpensWhenTheDiskDoes(t *testing.T) {
	sample, _ := sampleOutbox(t)
	damaged := bytes.Clone(sample)
	damaged[12] ^= 1
	for name, c := range map[string]struct {
		harm, mend func(t *testing.T, path string)
		waiting    int // events that are known although the disk fails
	}{
		"no directory": {
			func(t *testing.T, path string) { rename(t, filepath.Dir(path), filepath.Dir(path)+".away") },
			func(t *testing.T, path string) { rename(t, filepath.Dir(path)+".away", filepath.Dir(path)) }, 0,
		},
		"no directory but a file": {
			func(t *testing.T, path string) {
				rename(t, filepath.Dir(path), filepath.Dir(path)+".away")
				write(t, filepath.Dir(path), nil)
			},
			func(t *testing.T, path string) {
				if err := os.Remove(filepath.Dir(path)); err != nil {
					t.Fatal(err)
				}
				rename(t, filepath.Dir(path)+".away", filepath.Dir(path))
			}, 0,
		},
		"a lock that is a directory": {
			func(t *testing.T, path string) { mkdir(t, path+".lock") },
			func(t *testing.T, path string) { rename(t, path+".lock", path+".lock2") }, 0,
		},
		"nothing can be written": {
			func(t *testing.T, path string) { mkdir(t, filepath.Join(path+".tmp", "in the way")) },
			func(t *testing.T, path string) { rename(t, path+".tmp", path+".tmp2") }, 4,
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "outbox")
			mkdir(t, filepath.Dir(path))
			write(t, path, damaged)
			c.harm(t, path)
			p, logged := unpackInto(t, path)
			s := p.Status()
			if s.OutboxErr == nil || s.OutboxFailures == 0 || !strings.Contains(logged.String(), "level=ERROR") {
				t.Errorf("stats %+v, logged %q", s, logged)
			}
			count := func() int { return len(p.ledger.alive) }
			if n := count(); n != c.waiting {
				t.Errorf("%d events known, want %d", n, c.waiting)
			}
			during := outboxRecord(t, "during")
			if kept := p.keep(during); kept != (c.waiting > 0) {
				t.Errorf("kept: %t", kept)
			}
			c.mend(t, path)
			if c.waiting == 0 {
				p.outbox.tried = p.outbox.tried.Add(-reopenPause)
			}
			if !p.keep(outboxRecord(t, "after")) {
				t.Fatalf("not kept: %v", p.Status().OutboxErr)
			}
			if s := p.Status(); s.OutboxErr != nil || s.OutboxDamaged == 0 {
				t.Errorf("stats %+v", s)
			}
			if n := count(); n != 4 {
				t.Errorf("%d events known, want 4", n)
			}
			p.outbox.close()
			again, _ := unpackInto(t, path)
			want := 5
			if c.waiting > 0 {
				want = 6
			}
			if n := len(again.ledger.alive); n != want {
				t.Errorf("%d events after a restart, want %d", n, want)
			}
		})
	}
}

// A file that cannot be opened is not tried again for each event.
func TestOutboxIsReopenedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "none", "outbox")
		o, _, _, err := openOutbox(path, testIssuer)
		if err != nil {
			t.Fatal(err)
		}
		tried := o.tried
		put := func() error { // as a publisher does
			o.mend()
			return o.put(time.Now(), outboxRecord(t, "a"))
		}
		for range 100 {
			if put() == nil {
				t.Fatal("no error")
			}
		}
		if o.tried != tried {
			t.Error("tried for each event")
		}
		time.Sleep(reopenPause)
		if put() == nil || o.tried == tried {
			t.Error("not tried again")
		}
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		o.mend()
		if o.file != nil {
			t.Error("too soon")
		}
		time.Sleep(reopenPause)
		o.mend() // as the watch does, without an event
		if s := o.status(); s.err != nil {
			t.Error(s.err)
		}
		o.close()
		time.Sleep(reopenPause)
		if o.mend(); o.file != nil || o.lock != nil {
			t.Error("opened after Close")
		}
	})
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, name string) {
	t.Helper()
	if err := os.MkdirAll(name, 0o700); err != nil {
		t.Fatal(err)
	}
}
