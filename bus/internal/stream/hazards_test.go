package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
)

func TestHazards(t *testing.T) {
	good, err := Settings{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if bad := hazards(good); len(bad) > 0 {
		t.Errorf("our own stream: %q", bad)
	}
	if h, err := retention(good.Metadata); err != nil || h.TokenLifetime != time.Hour || h.SessionLifetime != 90*24*time.Hour {
		t.Errorf("retention %v, %v", h, err)
	}
	for name, spoil := range map[string]func(c *jetstream.StreamConfig){
		"subjects":  func(c *jetstream.StreamConfig) { c.Subjects = []string{"revocations.v1.*"} },
		"retention": func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"discard":   func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"bytes":     func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
		"age":       func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"messages":  func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 << 30 },
		"last":      func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"ttl":       func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false },
		"markers":   func(c *jetstream.StreamConfig) { c.SubjectDeleteMarkerTTL = time.Minute },
		"delete":    func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"purge":     func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"rollup":    func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"ack":       func(c *jetstream.StreamConfig) { c.NoAck = true },
		"transform": func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"counter":   func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"sources":   func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
	} {
		c := good
		spoil(&c)
		if bad := hazards(c); len(bad) != 1 {
			t.Errorf("%s: %q", name, bad)
		}
	}
}

// A mirror that lacks some of its origin shows heartbeats all the same, and with them
// looks complete (invariant 1).
func TestHazardsOfMirrors(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		mirror jetstream.StreamSource
		bad    int
	}{
		"whole":           {jetstream.StreamSource{}, 0},
		"whole by name":   {jetstream.StreamSource{FilterSubject: wire.StreamSubjects, OptStartSeq: 1}, 0},
		"everything":      {jetstream.StreamSource{FilterSubject: ">"}, 0},
		"from a sequence": {jetstream.StreamSource{OptStartSeq: 2}, 1},
		"from a time":     {jetstream.StreamSource{OptStartTime: &now}, 1},
		"one subject":     {jetstream.StreamSource{FilterSubject: wire.HeartbeatSubject}, 1},
		"some subjects":   {jetstream.StreamSource{SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: wire.HeartbeatSubject, Destination: wire.HeartbeatSubject}}}, 1},
	} {
		config, err := Settings{}.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		config.Subjects, config.Mirror = nil, &c.mirror
		if bad := hazards(config); len(bad) != c.bad {
			t.Errorf("%s: %q", name, bad)
		}
	}
}

// CreateStream calls nothing the same that differs in a way that matters.
func TestDifferences(t *testing.T) {
	want, err := Settings{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	same := want
	same.Description, same.Compression = "ours", jetstream.S2Compression
	if diff := Differences(same, want); len(diff) > 0 {
		t.Errorf("the same: %q", diff)
	}
	for name, change := range map[string]func(c *jetstream.StreamConfig){
		"subjects":          func(c *jetstream.StreamConfig) { c.Subjects = []string{wire.StreamSubjects, "other.>"} },
		"mirror":            func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "ORIGIN"} },
		"sources":           func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} },
		"max consumers":     func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 },
		"consumer limits":   func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second },
		"republish":         func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Destination: "leak.>"} },
		"duplicate window":  func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond },
		"first sequence":    func(c *jetstream.StreamConfig) { c.FirstSeq = 1000 },
		"message schedules": func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true },
		"max message size":  func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 },
		"persist mode":      func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"replicas":          func(c *jetstream.StreamConfig) { c.Replicas = 1 },
	} {
		c := want
		change(&c)
		if diff := Differences(c, want); len(diff) != 1 || !strings.HasPrefix(diff[0], name) {
			t.Errorf("%s: %q", name, diff)
		}
	}
}

func TestWeaknesses(t *testing.T) {
	good, err := Settings{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if weak := weaknesses(good); len(weak) > 0 {
		t.Errorf("our own stream: %q", weak)
	}
	for name, spoil := range map[string]func(c *jetstream.StreamConfig){
		"memory":          func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"replicas":        func(c *jetstream.StreamConfig) { c.Replicas = 2 },
		"persisted later": func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"small messages":  func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 10 },
		"huge messages":   func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 },
		"any messages":    func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 },
		"max consumers":   func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 },
		"consumer limits": func(c *jetstream.StreamConfig) { c.ConsumerLimits.MaxAckPending = 1 },
	} {
		c := good
		spoil(&c)
		if weak := weaknesses(c); len(weak) != 1 {
			t.Errorf("%s: %q", name, weak)
		}
	}
}
