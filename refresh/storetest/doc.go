// Package storetest tests whether a [refresh.Store] keeps its promises. Two things rest on
// them: that a refresh token succeeds once, and that instances share a keyring without a gap.
// Call [Run] from a test of the Store.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) refresh.Store { return newStore(t) }, storetest.Config{})
//	}
//
// Run it with -race. What concurrent callers saw is recorded and must be explained by
// one order of all writes in which every answer is right (linearizability). That holds also
// while [Config].Fault breaks things.
package storetest
