package bus

import "github.com/hybridtoken/hybridtoken/revoke"

// A Receipt proves that the stream has acknowledged an event.
type Receipt = revoke.Receipt

// A Result is what became of one event of a batch.
type Result struct {
	Receipt Receipt
	Err     error // nil if and only if the event was acknowledged
}
