package issue

import "github.com/hybridtoken/hybridtoken/internal/recordstore"

// A Store keeps rings. It is the one of sessions, which
// [github.com/hybridtoken/hybridtoken/refresh.Store] documents: package natskv is one for
// the instances on several machines, [FileStore] one for those on a single machine, and
// refresh.NewMemoryStore makes one for tests. A ring is one record, named after its issuer,
// which never expires and is replaced by compare-and-set. What it holds are private keys:
// see [KeyringConfig].SealKeys.
//
// Its methods are called with a deadline of 10 s. A ring follows what Load returns, so it
// should come from a leader, not from a replica or a cache; half a minute old it may be.
// Times are safe even if a Save that failed, or that nobody waits for any more, takes
// effect later.
type Store = recordstore.Store
