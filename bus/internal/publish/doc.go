// Package publish brings events into the stream, and knows what it brought: so that an
// acknowledgement that tells of a loss, a stream made anew and a disk that was rolled back
// have everything that is still alive published again.
//
// [Publisher] is given a transport. Its ledger holds what was acknowledged, its gauge the
// stream's settings and how full it is, and its outbox, if there is one, keeps on disk what
// must outlive the process.
package publish
