// Package snapshots keeps snapshots of replicas in NATS: each an immutable object in an
// object store, named by its digest, and one key in a key-value bucket that says which of
// them is the newest and who is writing the next.
//
// Nothing of it is believed. A snapshot is signed, and the log decides whether it goes on
// from there; whatever is wrong with the bucket costs a replica time, as it then reads all
// of the log.
package snapshots
