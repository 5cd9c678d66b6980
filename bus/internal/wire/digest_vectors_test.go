package wire

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// TestDigestVectors holds the digest to what a program in another language has computed
// from WIRE.md. The heartbeats lie before, on and after the edges of the groups.
func TestDigestVectors(t *testing.T) {
	data, err := os.ReadFile("../../testdata/wire/digest.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Messages []struct {
			Seq       uint64
			Timestamp string `json:"timestamp_ns"`
			Subject   string
			Payload   string
			TTL       *string `json:"nats_ttl"`
		}
		Digests []struct {
			Seq, Count uint64
			Sum        string
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var log replica.LogDigest
	digests := file.Digests
	for _, m := range file.Messages {
		ns, err := strconv.ParseInt(m.Timestamp, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		msg := &nats.Msg{Header: nats.Header{}}
		if m.TTL != nil {
			msg.Header.Set(jetstream.MsgTTLHeader, *m.TTL)
		}
		r := replica.Record{Sequence: m.Seq, Time: time.Unix(0, ns), Life: new(Lives).Of(msg), Subject: m.Subject, Data: []byte(m.Payload)}
		log.Add(&r)
		if m.Subject != HeartbeatSubject {
			continue
		}
		if len(digests) == 0 || digests[0].Seq != m.Seq {
			t.Fatalf("no digest for the heartbeat at %d", m.Seq)
		}
		want := digests[0]
		digests = digests[1:]
		if got := log.At(&r); got.Sequence != want.Seq || got.Count != want.Count || hex.EncodeToString(got.Sum[:]) != want.Sum {
			t.Errorf("at %d: %d messages, %x; want %d, %s", want.Seq, got.Count, got.Sum, want.Count, want.Sum)
		}
	}
	if len(digests) > 0 || len(file.Digests) == 0 {
		t.Errorf("%d of %d digests were not looked at", len(digests), len(file.Digests))
	}
}
