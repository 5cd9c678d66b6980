package revoke

import "time"

// A Receipt proves that a publisher's event was acknowledged: that it will reach
// every replica.
type Receipt struct {
	ID       string    // of the event
	Sequence uint64    // its place in the stream
	Time     time.Time // when the acknowledgement arrived, by the local clock
	Event    Event     // as published, with what Publish filled in
}
