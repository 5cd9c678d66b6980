package jsadmin

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Findings are what is wrong with a stream's settings, in words.
type Findings []string

// Add adds what is wrong when it is.
func (f *Findings) Add(when bool, format string, args ...any) {
	if when {
		*f = append(*f, fmt.Sprintf(format, args...))
	}
}

// Hazards lists the settings under which any stream forgets or distorts what it holds.
func Hazards(c jetstream.StreamConfig) (f Findings) {
	f.Add(c.Retention != jetstream.LimitsPolicy, "retention is %s, want limits", c.Retention)
	f.Add(c.Discard != jetstream.DiscardNew, "discard policy is %s, want new", c.Discard)
	f.Add(c.MaxBytes <= 0, "max bytes is not set")
	f.Add(c.MaxAge != 0, "max age is %s, want none", c.MaxAge)
	f.Add(c.MaxMsgs > 0, "max messages is %d, want none", c.MaxMsgs)
	f.Add(!c.AllowMsgTTL, "message TTLs are not allowed")
	f.Add(c.SubjectDeleteMarkerTTL != 0, "subject delete markers are on")
	f.Add(!c.DenyDelete, "deletes are not denied")
	f.Add(!c.DenyPurge, "purges are not denied")
	f.Add(c.AllowRollup, "rollups are allowed")
	f.Add(c.NoAck, "acknowledgements are off")
	f.Add(c.Sealed, "it is sealed")
	f.Add(c.SubjectTransform != nil, "subjects are transformed")
	f.Add(c.AllowMsgCounter, "it is a counter stream")
	return f
}

// Weaknesses lists the settings under which an accident can lose what was acknowledged.
func Weaknesses(c jetstream.StreamConfig) (f Findings) {
	f.Add(c.Storage == jetstream.MemoryStorage, "kept in memory")
	f.Add(c.Replicas < 3, "replicas: %d", c.Replicas)
	f.Add(c.PersistMode == jetstream.AsyncPersistMode, "acknowledged before it is on disk")
	return f
}

// Differ adds a setting that is not as it was to be.
func (f *Findings) Differ(name string, have, want any) {
	f.Add(have != want, "%s is %v, want %v", name, have, want)
}

// Differences adds in what have differs from want, as far as that matters for any stream
// and is no hazard.
func (f *Findings) Differences(have, want jetstream.StreamConfig) {
	f.Differ("storage", have.Storage, want.Storage)
	f.Differ("replicas", have.Replicas, want.Replicas)
	f.Differ("max bytes", have.MaxBytes, want.MaxBytes)
	f.Differ("max message size", have.MaxMsgSize, want.MaxMsgSize)
	f.Differ("persist mode", have.PersistMode, want.PersistMode)
	f.Differ("max consumers", have.MaxConsumers, want.MaxConsumers)
	f.Differ("consumer limits", have.ConsumerLimits, want.ConsumerLimits)
}
