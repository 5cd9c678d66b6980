// Package bus carries revocation events over NATS JetStream, and proves to every
// replica up to which instant it is complete.
//
// Start with [Dial], then [Open]. A [Bus] does both halves of the work:
// [Bus.Publish] revokes, and [Bus.Follow] feeds a [revoke.List]. Neither creates
// the stream, whose settings decide what can be promised: [CreateStream] does, or
// package bus/embedded for a program that brings its own server.
//
// # What it promises
//
// Publish returns nil only when the stream has acknowledged the event. Everything
// else is an error that the caller must act on: a revocation that fails silently
// is worse than none (invariant 9 of the design). Publishing again is always
// harmless: events only ever add.
//
// A replica is fresh only as long as a heartbeat, a message in the same stream,
// proves it. Nothing else that a server says is believed: an isolated follower, a
// deposed leader and a disk restored from a backup all look idle and healthy.
//
// # What it refuses
//
// It does not publish to a stream that could forget: limits by age or count, a
// discard policy that drops old messages, missing deny flags. It does not create,
// change or delete streams behind the operator's back. It does not accept a
// connection that gives up reconnecting.
//
// # On the wire
//
// An event is JSON on the subject revocations.v1.<issuer-hash>.<kind> (see
// [Subject]), so that a person can read it, any NATS client can publish it, and
// permissions on subjects bound what each publisher may revoke:
//
//	{"v":1,"id":"…","iss":"https://auth.example.com","kind":"subject","value":"user-1",
//	 "before":1767225600000,"keep":["…"],"until":1767229200000,"reason":"…","actor":"…","at":1767225598000}
//
// Times are integer milliseconds since 1970. Only v, iss, kind and, but for kind
// issuer, value are required. Unknown members are ignored. Version 1 is understood
// for ever.
//
// # Trust
//
// Whoever may publish on a subject of the stream may revoke what it names;
// whoever may delete the stream may delay revocations, though no replica forgets
// what it knows. Bound both with NATS accounts and permissions: publishers need
// their subjects, [HeartbeatSubject] and a reply inbox; followers need
// [HeartbeatSubject] and the right to make consumers on the stream.
package bus
