// Package follow keeps a revoke.List in step with the stream, and proves up to which instant:
// it reads the stream through consumers of its own, sends heartbeats, compares digests, reads
// a log that others dispute a second time, moves away from servers that bring nothing, and
// answers roll calls.
//
// A [Follower] is given a transport, and runs until it is closed.
package follow
