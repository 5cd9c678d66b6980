package bus

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func written(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "written-by-601627d", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A stream of the version before: its settings are safe, its metadata are understood, and
// so is each message, to the last byte.
func TestStreamOfTheVersionBefore(t *testing.T) {
	var c jetstream.StreamConfig
	if err := json.Unmarshal(written(t, "stream-config.json"), &c); err != nil {
		t.Fatal(err)
	}
	st := stream.StateOf(&jetstream.StreamInfo{Config: c}, new(stream.Fixed))
	if len(st.Unsafe) > 0 {
		t.Errorf("hazards: %q", st.Unsafe)
	}
	if h := st.Retention; h.TokenLifetime != time.Hour || h.SessionLifetime != 3652*24*time.Hour {
		t.Errorf("retention %+v", h)
	}
	beats, kinds := 0, map[revoke.Kind]int{}
	for line := range bytes.Lines(written(t, "stream.jsonl")) {
		var m struct{ Subject, Data string }
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatal(err)
		}
		msg, fault := decode(m.Subject, []byte(m.Data))
		if fault != 0 {
			t.Errorf("fault %s: %s", fault, m.Data)
			continue
		}
		if msg.Beat {
			beats++
			if msg.Heartbeat.Name != "sample" || msg.Heartbeat.Time.IsZero() || msg.Heartbeat.Nonce == [16]byte{} {
				t.Errorf("heartbeat %+v of %s", msg.Heartbeat, m.Data)
			}
			continue
		}
		kinds[msg.Event.Kind]++
		again, err := wire.EncodeEvent(&msg.Event)
		if err != nil || string(again) != m.Data {
			t.Errorf("%v: read\n%s\nwritten again\n%s", err, m.Data, again)
		}
	}
	want := map[revoke.Kind]int{revoke.KindToken: 1, revoke.KindSession: 22, revoke.KindSubject: 3, revoke.KindClient: 1, revoke.KindTenant: 1, revoke.KindKey: 1, revoke.KindIssuer: 1}
	if !maps.Equal(kinds, want) || beats == 0 {
		t.Errorf("%d heartbeats and %v, want %v", beats, kinds, want)
	}
}
