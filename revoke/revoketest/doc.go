// Package revoketest is for tests of services that revoke tokens: a bus in memory
// that misbehaves on command, and a checker of what the replicas answered.
//
// A [Bus] holds the log and the time. [Bus.Join] gives a [Member], a replica that
// reads the log over a link of its own. [Bus.Advance] lets time pass; everything
// else happens when it is called, on the caller's goroutine, in an order that the
// test decides: nothing here sleeps. When members beat is random, as in life.
//
//	b := revoketest.NewBus(revoketest.Config{})
//	m, err := b.Join(revoke.Config{})
//	ack, err := b.Publish(revoke.Event{…})
//	m.Partition()
//	b.Advance(time.Minute)
//	err = m.Check(identity, revoke.Deny()) // revoke.ErrStale
//	m.Heal()
//	err = b.Violations()                   // nil: invariant 1 held throughout
//
// To test a verifier against it, run the test in a testing/synctest bubble and give
// [Config].Sleep time.Sleep: the bus then lives in the bubble's time.
package revoketest
