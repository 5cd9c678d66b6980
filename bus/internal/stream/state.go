package stream

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A State is what one answer of the server says about the stream.
type State struct {
	Retention revoke.Retention // zero if unreadable
	Largest   revoke.Retention // of this stream that were ever read, each
	Created   time.Time
	Now       time.Time // by the server's clock, when it answered; zero: it did not say
	First     uint64    // sequence
	Last      uint64    // sequence
	Forgets   bool      // it drops what it holds
	Bytes     uint64    // in use
	MaxBytes  int64     // positive, or unsafe says so
	Unsafe    []string  // reasons why it could forget; nothing is published to it
	Mirror    bool      // of another stream; it can be followed, and nothing published to it
	Batches   bool      // it takes atomic batches
	Weak      []string  // reasons why an accident could lose what it holds; reported
}

// StateOf reads what a server says of the stream, of which f remembers the retention.
func StateOf(info *jetstream.StreamInfo, f *Fixed) State {
	st := State{
		Created:  info.Created,
		Now:      info.TimeStamp,
		First:    info.State.FirstSeq,
		Last:     info.State.LastSeq,
		Forgets:  forgets(info.Config),
		Bytes:    info.State.Bytes,
		MaxBytes: info.Config.MaxBytes,
	}
	var err error
	st.Retention, err = retention(info.Config.Metadata)
	st.Unsafe = hazards(info.Config)
	if err != nil {
		st.Unsafe = append(st.Unsafe, err.Error())
	}
	largest, shrunk := f.shrunk(st.Created, st.Retention)
	st.Largest, st.Unsafe = largest, append(st.Unsafe, shrunk...)
	st.Weak = weaknesses(info.Config)
	st.Mirror = info.Config.Mirror != nil
	st.Batches = info.Config.AllowAtomicPublish
	return st
}
