package bus

import "github.com/hybridtoken/hybridtoken/revoke"

// A Result is what became of one event of a batch.
type Result struct {
	Receipt revoke.Receipt
	Err     error // nil if and only if the event was acknowledged
}
