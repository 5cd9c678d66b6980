package bus

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A streamState is what one answer of the server says about the stream.
type streamState struct {
	retention revoke.Retention // zero if unreadable
	largest   revoke.Retention // of this stream that were ever read, each
	created   time.Time
	now       time.Time // by the server's clock, when it answered; zero: it did not say
	first     uint64    // sequence
	last      uint64    // sequence
	forgets   bool      // it drops what it holds
	bytes     uint64    // in use
	maxBytes  int64     // positive, or unsafe says so
	unsafe    []string  // reasons why it could forget; nothing is published to it
	mirror    bool      // of another stream; it can be followed, and nothing published to it
	weak      []string  // reasons why an accident could lose what it holds; reported
}

// stateOf reads what a server says of the stream, of which f remembers the retention.
func stateOf(info *jetstream.StreamInfo, f *fixed) streamState {
	st := streamState{
		created:  info.Created,
		now:      info.TimeStamp,
		first:    info.State.FirstSeq,
		last:     info.State.LastSeq,
		forgets:  forgets(info.Config),
		bytes:    info.State.Bytes,
		maxBytes: info.Config.MaxBytes,
	}
	var err error
	st.retention, err = retention(info.Config.Metadata)
	st.unsafe = hazards(info.Config)
	if err != nil {
		st.unsafe = append(st.unsafe, err.Error())
	}
	largest, shrunk := f.shrunk(st.created, st.retention)
	st.largest, st.unsafe = largest, append(st.unsafe, shrunk...)
	st.weak = weaknesses(info.Config)
	st.mirror = info.Config.Mirror != nil
	return st
}
