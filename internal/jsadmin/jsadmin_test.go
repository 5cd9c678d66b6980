package jsadmin

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The server's codes are as nats-server has them.
func TestCodes(t *testing.T) {
	for got, want := range map[jetstream.ErrorCode]int{
		CodeNotClustered: 10074, CodeNotAvailable: 10008, CodeOffline: 10118, CodeNoResources: 10023, CodeMemoryExceeded: 10028, CodeStorageExceeded: 10047,
		CodeStoreFailed: 10077, CodeStreamNotMatch: 10060, CodeTTLInvalid: 10165, CodeTTLDisabled: 10166, CodeSealed: 10109,
		CodeInvalidJSON: 10025, CodeBatchesDisabled: 10174, CodeBatchTooLarge: 10199, CodeBatchHoldsSeen: 10201,
	} {
		if int(got) != want {
			t.Errorf("%d, want %d", got, want)
		}
		err := fmt.Errorf("publish: %w", &jetstream.APIError{ErrorCode: got})
		if !IsCode(err, 1, got) || IsCode(err, 1) || Code(err) != got {
			t.Errorf("%d is not recognised", got)
		}
		full := map[int]bool{10077: true, 10047: true, 10028: true, 10023: true}
		electing := map[int]bool{10008: true, 10118: true}
		if IsFull(err) != full[want] || IsElecting(err) != electing[want] {
			t.Errorf("%d: full %t, electing %t", want, IsFull(err), IsElecting(err))
		}
	}
	if Code(nil) != 0 || Code(jetstream.ErrStreamNotFound) != jetstream.JSErrCodeStreamNotFound {
		t.Error("no answer has a code, or an error of the library none")
	}
}

// A stream as it is made is safe; each setting that is edited is found, once.
func TestFindings(t *testing.T) {
	good, err := Config{}.Stream("S", 1<<30, 1<<20)
	if err != nil || good.Replicas != 3 || good.MaxBytes != 1<<30 || good.Storage != jetstream.FileStorage {
		t.Fatal(good, err)
	}
	if len(Hazards(good)) > 0 || len(Weaknesses(good)) > 0 {
		t.Errorf("%q, %q", Hazards(good), Weaknesses(good))
	}
	for want, spoil := range map[string]func(c *jetstream.StreamConfig){
		"retention":       func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"discard policy":  func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"max bytes":       func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
		"max age":         func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"max messages":    func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 30 },
		"message TTLs":    func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false },
		"delete markers":  func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Minute },
		"deletes":         func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"purges":          func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"rollups":         func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"acknowledgement": func(c *jetstream.StreamConfig) { c.NoAck = true },
		"sealed":          func(c *jetstream.StreamConfig) { c.Sealed = true },
		"transformed":     func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"counter":         func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"in memory":       func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"replicas: 2":     func(c *jetstream.StreamConfig) { c.Replicas = 2 },
		"before it is on": func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
	} {
		c := good
		spoil(&c)
		list := append(Hazards(c), Weaknesses(c)...)
		if len(list) != 1 || !strings.Contains(list[0], want) {
			t.Errorf("%s: %q", want, list)
		}
	}
	var same Findings
	if same.Differences(good, good); len(same) > 0 {
		t.Errorf("%q", same)
	}
	for want, spoil := range map[string]func(c *jetstream.StreamConfig){
		"storage": func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }, "replicas": func(c *jetstream.StreamConfig) { c.Replicas = 1 },
		"max bytes": func(c *jetstream.StreamConfig) { c.MaxBytes++ }, "max message size": func(c *jetstream.StreamConfig) { c.MaxMsgSize++ },
		"persist mode":    func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"max consumers":   func(c *jetstream.StreamConfig) { c.MaxConsumers = 7 },
		"consumer limits": func(c *jetstream.StreamConfig) { c.ConsumerLimits.MaxAckPending = 7 },
	} {
		c := good
		spoil(&c)
		var list Findings
		if list.Differences(c, good); len(list) != 1 || !strings.HasPrefix(list[0], want+" is ") {
			t.Errorf("%s: %q", want, list)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{"S": true, "a-b_9": true, strings.Repeat("a", 64): true, "": false, strings.Repeat("a", 65): false, "a b": false, "a.b": false, "a>": false, "é": false} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
