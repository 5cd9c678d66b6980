package revoke

import "time"

// A Feed is the protocol half of a replica: fed with the records of a totally
// ordered log, it applies events to its [List] and decides, from heartbeats, the
// chain of deliveries and the anchor, up to which instant the replica is proven.
// It does no input or output: package bus drives it over NATS, revoketest in memory.
//
// A Feed belongs to one goroutine; only [Feed.Sent] and [Feed.Unsent] may be
// called from others.
//
// The life of a Feed is a sequence of subscriptions. Each starts with [Feed.Begin],
// which says where in the log it must start; its records are then handed over in
// the order of delivery. A record of an earlier subscription is dropped by its
// generation. When a method returns an error, the subscription is over: the caller
// cancels it and calls Begin again.
type Feed struct {
	// implementation to come
}

// A LogInfo is what the caller reads about the log before each subscription.
type LogInfo struct {
	Horizons     Horizons // as fixed when the log was made; zero lifetimes: unreadable, nothing is proven
	LastSequence uint64   // of the newest record; 0 for an empty log
}

// A Subscription says where to start reading.
type Subscription struct {
	Generation uint64 // to be handed back with every record
	Start      uint64 // sequence to start at, inclusive; records below may have expired
	Anchored   bool   // the record at Start was applied before; it must be delivered again, first, within [AnchorTimeout]
}

// AnchorTimeout is how long the caller waits for the first record of an anchored
// subscription before it calls [Feed.Broken] and begins again.
const AnchorTimeout = 2 * time.Second

// A Record is the position of one message of the log.
type Record struct {
	Generation uint64    // of the subscription that delivered it
	Delivery   uint64    // counts the subscription's deliveries from 1, as the log server numbered them
	Sequence   uint64    // the message's place in the log; increasing, with holes
	Time       time.Time // the log server's timestamp
	Digest     [32]byte  // SHA-256 over the length-prefixed subject and payload
}

// A Heartbeat is a message whose only meaning is its place in the log.
type Heartbeat struct {
	Nonce [16]byte  // 128 random bits
	Time  time.Time // the sender's clock when it was sent
	Name  string    // of the sender, for people
}

// A Fault says why a message of the log was not applied. Faults are counted,
// never fatal: one stray message must not stop a company.
type Fault uint8

const (
	FaultMalformed Fault = iota + 1 // no JSON, wrong types, missing or impossible values
	FaultOversized                  // larger than any event may be
	FaultVersion                    // a version of the protocol to come
	FaultKind                       // a kind of event to come
	FaultSubject                    // issuer or kind differ from those of the subject
	FaultCritical                   // an unknown version or kind that says it is critical: the replica is not fresh for a TokenLifetime
	FaultUnsigned                   // signature missing or wrong where Trust asks for one
)
