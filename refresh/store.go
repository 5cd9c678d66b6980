package refresh

import "github.com/hybridtoken/hybridtoken/internal/recordstore"

// A Store keeps records, of sessions and subjects here and of keyrings in package
// token/issue.
// It knows nothing of what is in them: it is a map of bytes whose every write is a
// compare-and-set, and that compare-and-set is what decides between concurrent uses of
// one refresh token (invariant 8), and between instances that change a keyring.
// [NewMemoryStore] makes one, package natskv another, and package storetest tests whether a
// third is one. It is the interface
//
//	Load(ctx context.Context, key string) (Record, error)
//	Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error)
//
// Keys are at most 64 bytes of A–Z, a–z, 0–9, "-", "_" and "."; they neither begin
// nor end with a dot nor hold two in a row. Values are at most 128 KiB ([CheckRecord]). A Store
// keeps neither the slices given to it nor those it has returned. Its methods are called
// concurrently, from every instance of the service; ctx bounds them.
//
// Load returns the record under key. The error matches [ErrNotFound] if there is none, also
// while a failure lasts: who is told so of a record that was acknowledged before is logged
// out. A record that has expired may still be shown. Load should see every write that was
// acknowledged before it began, and may lag by up to half a minute while a failure lasts:
// an old answer makes honest clients try again. All else is decided by Save.
//
// Save writes value under key if the record there still has the given revision; zero
// means: if there is no record. It returns the new revision, which is greater than zero
// and was never that of an earlier value of this key. The error matches [ErrConflict] if,
// and only if, nothing was written and nothing ever will be by this call. After any other
// error the write may have happened, or may happen still: the caller finds out by reading.
//
// The record may be forgotten once expires has passed, by any clock that is right within
// minutes, and never earlier. Each Save sets it anew. Records of keyrings expire at the
// end of the year 9999, which means never; a Store whose room is bounded keeps some for
// them that others cannot take, or sessions would stop the rotation of keys.
type Store = recordstore.Store

// A Record is what a [Store] holds under a key: Value, and Revision, which changes with
// every Save. It prints how long the value is and none of it.
type Record = recordstore.Record

// What a [Store] answers. Any other error means that it could not do its work.
var (
	ErrNotFound = recordstore.ErrNotFound
	ErrConflict = recordstore.ErrConflict
)

// CheckRecord returns an error for a key or a value that no [Store] has to take: for
// those who write one.
func CheckRecord(key string, value []byte) error { return recordstore.Check(key, value) }

// NewMemoryStore returns an empty [Store] in memory: for tests, and for a single process
// whose users may be logged out by its restart.
func NewMemoryStore() Store { return new(recordstore.MemoryStore) }
