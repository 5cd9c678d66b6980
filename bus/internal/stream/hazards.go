package stream

import (
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// hazards lists the settings under which a stream forgets or distorts events.
func hazards(c jetstream.StreamConfig) []string {
	list := jsadmin.Hazards(c)
	list.Add(c.Mirror == nil && !slices.Contains(c.Subjects, wire.StreamSubjects), "subjects %q lack %q", c.Subjects, wire.StreamSubjects)
	list.Add(c.MaxMsgsPerSubject > 0, "max messages per subject is %d, want none", c.MaxMsgsPerSubject)
	// A heartbeat tells of what stands before it in the same log, and of nothing else.
	list.Add(len(c.Sources) > 0, "sources: heartbeats tell nothing of other streams")
	if m := c.Mirror; m != nil {
		list.Add(m.OptStartSeq > 1 || m.OptStartTime != nil, "it mirrors only what is newer than its start")
		list.Add(m.FilterSubject != "" && m.FilterSubject != ">" && m.FilterSubject != wire.StreamSubjects || len(m.SubjectTransforms) > 0,
			"it mirrors only some subjects, and heartbeats tell nothing of the others")
	}
	return list
}

// forgets reports whether a stream of that configuration drops what it holds, or lets
// others drop it.
func forgets(c jetstream.StreamConfig) bool {
	return c.MaxAge != 0 || c.MaxMsgs > 0 || c.MaxMsgsPerSubject > 0 || c.Discard != jetstream.DiscardNew ||
		c.Retention != jetstream.LimitsPolicy || !c.DenyDelete || !c.DenyPurge || c.AllowRollup
}

// weaknesses lists the settings under which an accident can lose events that were
// acknowledged.
func weaknesses(c jetstream.StreamConfig) []string {
	list := jsadmin.Weaknesses(c)
	// Smaller: events that do not fit; larger or none: a flood is cheap.
	list.Add(c.MaxMsgSize != wire.MaxMessageBytes, "max message size is %d, want %d", c.MaxMsgSize, wire.MaxMessageBytes)
	list.Add(c.MaxConsumers > 0, "max consumers is %d, want none", c.MaxConsumers)
	list.Add(c.ConsumerLimits != (jetstream.StreamConsumerLimits{}), "consumers are limited")
	return list
}

// Differences lists in what have differs from want, as far as it matters.
func Differences(have, want jetstream.StreamConfig) []string {
	list := jsadmin.Findings(hazards(have))
	list.Differences(have, want)
	list.Add(!slices.Equal(have.Subjects, want.Subjects), "subjects are %q, want %q", have.Subjects, want.Subjects)
	list.Differ("mirror", have.Mirror != nil, false)
	list.Differ("republish", have.RePublish != nil, false)
	list.Differ("duplicate window", have.Duplicates, want.Duplicates)
	list.Differ("first sequence", have.FirstSeq, want.FirstSeq)
	list.Differ("message schedules", have.AllowMsgSchedules, false)
	for _, key := range slices.Sorted(maps.Keys(want.Metadata)) { // the server adds keys of its own
		v, ok := have.Metadata[key]
		if !ok && key == metaMaxSkew {
			v = defaultSkewText
		}
		list.Differ("metadata "+key, strconv.Quote(v), strconv.Quote(want.Metadata[key]))
	}
	return list
}
