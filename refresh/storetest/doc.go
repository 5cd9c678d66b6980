// Package storetest tests whether a [refresh.Store] keeps its promises: those on which
// it rests that one refresh token succeeds once, and that a keyring is shared without a gap. Call [Run] from a test of the Store.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) refresh.Store { return newStore(t) }, storetest.Config{})
//	}
//
// Run it with -race. What concurrent callers saw is recorded and must be explained by
// one order of all writes in which every answer is right (linearizability); while
// [Config].Fault breaks things, too.
package storetest
