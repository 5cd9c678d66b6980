package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Outboxes of the version before: what was not acknowledged will be published, what was
// is known to be in the stream, and nothing is damaged.
func TestOutboxOfTheVersionBefore(t *testing.T) {
	var about struct {
		Written int64 `json:"written_ms"`
	}
	if err := json.Unmarshal(written(t, "about.json"), &about); err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(about.Written).Add(time.Hour)
	for name, want := range map[string]struct {
		acknowledged int
		pending      []string
		open         bool
	}{
		"outbox-clean":     {acknowledged: 29},
		"outbox-compacted": {acknowledged: 30},
		"outbox-lost":      {acknowledged: 30},
		"outbox-pending":   {acknowledged: 30, pending: []string{"pending", "pending-jti", "pending-user"}},
		"outbox-early":     {pending: []string{"early"}, open: true},
	} {
		data := written(t, name)
		if name == "outbox-lost" && !bytes.Contains(data, []byte(`"lost"`)) {
			t.Error("the sample of a loss holds none")
		}
		alive, damaged, _, err := readOutbox(bytes.NewReader(data), []string{testIssuer}, now)
		if err != nil || damaged != 0 {
			t.Errorf("%s: %d damaged, %v", name, damaged, err)
		}
		acknowledged, pending := 0, []string(nil)
		for _, rec := range alive {
			msg, fault := decode(rec.subject, rec.payload)
			if fault != 0 || rec.subject != wire.Subject(testIssuer, msg.Event.Kind) || !rec.gone.After(msg.Event.Until) {
				t.Errorf("%s: fault %s of %s", name, fault, rec.payload)
			}
			if mass := msg.Event.Kind != revoke.KindToken && msg.Event.Kind != revoke.KindSession; mass != (rec.signature != "") {
				t.Errorf("%s: signature %q of %s", name, rec.signature, rec.payload)
			}
			if rec.open != want.open {
				t.Errorf("%s: open is %t in %s", name, rec.open, rec.payload)
			}
			if rec.seq != 0 {
				acknowledged++
			} else {
				pending = append(pending, msg.Event.Value)
			}
		}
		slices.Sort(pending)
		if acknowledged != want.acknowledged || !slices.Equal(pending, want.pending) {
			t.Errorf("%s: %d acknowledged, pending %q, want %+v", name, acknowledged, pending, want)
		}

		// As a crash leaves it, within its last line.
		if cut, damaged, _, err := readOutbox(bytes.NewReader(data[:len(data)-5]), []string{testIssuer}, now); err != nil || damaged != 0 || len(cut) < len(alive)-1 {
			t.Errorf("%s, cut: %d of %d, %d damaged, %v", name, len(cut), len(alive), damaged, err)
		}
		// And what this version writes in its place says the same.
		path := filepath.Join(t.TempDir(), "outbox")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			o, opened, damaged, err := openOutbox(path, testIssuer)
			if err != nil || damaged != 0 {
				t.Fatalf("%s: %d damaged, %v", name, damaged, err)
			}
			o.close()
			if time.Now().Before(now.Add(9*365*24*time.Hour)) && len(opened) != len(alive) { // nothing in it has expired
				t.Errorf("%s: %d opened of %d", name, len(opened), len(alive))
			}
			for _, rec := range opened {
				if was := alive[rec.id]; was == nil || !bytes.Equal(was.payload, rec.payload) || was.seq != rec.seq || was.signature != rec.signature || !was.gone.Equal(rec.gone) {
					t.Errorf("%s: %s is now %+v, was %+v", name, rec.id, rec, was)
				}
			}
		}
		if _, _, _, err := openOutbox(path, strings.TrimSuffix(testIssuer, "m")); !errors.Is(err, ErrOutbox) {
			t.Errorf("%s: opened for another issuer: %v", name, err)
		}
	}
}
