// Package follow tests how a replica keeps in step with the stream, and how it knows that it
// does: replay, heartbeats, digests, state files, streams that come back other than they were,
// and messages that nobody should have sent.
package follow
