package rig

import (
	"maps"
	"slices"
)

// A Behaviour is what versions of nats-server do differently, of all that our tests state.
// Each difference is asserted in both directions, so that a server that changes is noticed.
type Behaviour struct {
	// A message whose reply subject lies below $JS.API is refused, whatever rights its
	// sender has. Others deliver it, and have the answer pass for a request.
	RefusesAPIReplies bool

	// A stream can take atomic batches.
	Batches bool
}

// Behaviours holds one line for each version that tests run against: that of go.mod, which
// is linked into them, and those of the directory servers. See docs/servers.md.
var Behaviours = map[string]Behaviour{
	"2.11.17": {},
	"2.12.15": {Batches: true},
	"2.14.10": {RefusesAPIReplies: true, Batches: true},
	"2.15.2":  {Batches: true},
	"2.15.3":  {RefusesAPIReplies: true, Batches: true},
}

// Behaviour is what the broker's version does. A version that has no line fails the test.
func (b *Broker) Behaviour() Behaviour {
	b.t.Helper()
	known, ok := Behaviours[b.Version]
	if !ok {
		b.t.Fatalf("nats-server %s is in no line of the table of behaviours, which has %q", b.Version, slices.Sorted(maps.Keys(Behaviours)))
	}
	return known
}
