package publish

import (
	"errors"
	"os"
	"testing"
	"time"
)

// A new file that did not reach the disk as a whole never takes the good one's place:
// whatever step of writing it fails, what was there is there.
func TestOutboxRewriteFails(t *testing.T) {
	broken := errors.New("input/output error")
	for name, harm := range map[string]func(t *testing.T, o *outbox, path string){
		"it is not synced":  func(t *testing.T, o *outbox, _ string) { o.syncFile = func(*os.File) error { return broken } },
		"it cannot be made": func(t *testing.T, o *outbox, path string) { mkdir(t, path+".tmp/in the way") },
		"it cannot take the name": func(t *testing.T, o *outbox, path string) {
			rename(t, path, path+".good")
			mkdir(t, path+"/in the way")
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, path := openTestOutbox(t)
			if err := o.put(time.Now(), outboxRecord(t, "before")); err != nil {
				t.Fatal(err)
			}
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			harm(t, o, path)
			o.mu.Lock()
			err = o.rewrite(nil) // which would lose it
			o.mu.Unlock()
			if err == nil {
				t.Fatal("no error")
			}
			if name == "it cannot take the name" {
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				rename(t, path+".good", path)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(good) {
				t.Errorf("what was there is lost: %q, %v", now, err)
			}
			if _, err := os.Stat(path + ".tmp"); name != "it cannot be made" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
			o.syncFile = (*os.File).Sync
			if err := o.put(time.Now(), outboxRecord(t, "after")); err != nil {
				t.Fatal(err)
			}
			if values, _ := reopenAfter(t, o, path); values["before"] == nil || values["after"] == nil {
				t.Errorf("%d alive", len(values))
			}
		})
	}
}

// reopenAfter is reopen with what was in the way removed.
func reopenAfter(t *testing.T, o *outbox, path string) (map[string]*record, int) {
	t.Helper()
	if err := os.RemoveAll(path + ".tmp"); err != nil {
		t.Fatal(err)
	}
	return reopen(t, o, path)
}

// The file that was replaced is closed: none stays open for each time that it is written
// anew.
func TestOutboxRewriteClosesTheOld(t *testing.T) {
	o, _ := openTestOutbox(t)
	old := o.file
	o.mu.Lock()
	err := o.rewrite(nil)
	o.mu.Unlock()
	if err != nil || o.file == old {
		t.Fatal(err)
	}
	if _, err := old.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the old file is open: %v", err)
	}
}
