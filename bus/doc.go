// Package bus carries revocation events over NATS JetStream, and proves to every
// replica up to which instant it is complete.
//
// Start with [Join]. It returns a [Member], which does both halves of the work: it
// keeps a [revoke.List] in step with the stream, if [Config].List is set, and
// [Member.Publish] revokes, if [Config].Issuers is. A service that only verifies sets
// the first, an auth service both. Neither creates the stream, whose settings decide
// what can be promised: [CreateStream] does, or package bus/embedded for a program that
// brings its own server. The Examples of bus/embedded run, and show publishing, following,
// signatures, batches and restarts.
//
// # What it promises
//
// Publish returns nil only when the stream has acknowledged the event. Everything
// else is an error that the caller must act on: a revocation that fails silently
// is worse than none. Publishing again is always
// harmless: events only ever add.
//
// A replica is fresh only as long as a heartbeat, a message in the same stream,
// proves it. Nothing else that a server says is believed: an isolated follower, a
// deposed leader and a disk restored from a backup all look idle and healthy.
//
// A follower behind a server that looks healthy but brings no heartbeats moves to
// another; give [Join] the addresses of all. [Member.Readiness] answers the probes of
// a load balancer, and must not be a liveness probe; [Member.WaitChange] is for
// alarms and metrics. Package bus/rollcall publishes a revocation and hears from each replica
// that it has applied it, for callers who have to show that.
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
// Events of the mass kinds may carry a signature, see [SignatureHeader]. Then before
// (but for kind key) and until are required, too.
//
// Times are integer milliseconds since 1970. Only v, iss, kind and, but for kind
// issuer, value are required, and nothing else voids an event: a member that cannot be
// used is left out, and the event takes the reading that revokes most. Unknown members
// are ignored. Version 1 is understood for ever. A cutoff written by hand should carry
// before and at, too: one without before counts from the time at which it is stored, and
// so again if it is stored again. Messages of more than 64 KiB are refused. A message
// needs a Nats-TTL, or never leaves the stream, and a Nats-Msg-Id that no other has, or is
// dropped: WIRE.md, beside this package, is the contract for other languages, with test
// vectors.
//
// # Trust
//
// With [Config].Trust a follower heeds events of the mass kinds, which name what can be
// guessed, only if a key that it knows has signed them ([Config].Signer); tokens and
// sessions have ids that nobody guesses, and need no signature. Without it, what is in
// the stream counts. A signature keeps others from revoking; it keeps nobody from
// storing a signed event again, which changes nothing, or from filling the stream.
//
// A right to publish on a subject of the stream is a right to revoke what it names, as far as
// no signature is asked for; a right to delete the stream is one to delay revocations, though no
// replica forgets what it knows. Bound both with NATS accounts and permissions, and know
// what they do not bound. On the account that holds the stream:
//
//   - An issuer's subject with a kind (see [Subject]): revoke what that kind names for
//     that issuer, and, with an event marked critical, stop for a TokenLifetime the
//     services that accept this issuer's tokens; both need a signature where there is a
//     Trust and the kind is a mass kind, or the mark is to count.
//   - [HeartbeatSubject]: help freshness, or say that the log holds something else than
//     it does. A digest that differs takes nothing from members at the origin but a
//     second reading of the log, within a minute, and ever more rarely up to an
//     hour; members behind a mirror are fresh while any other member's digest agrees. One
//     that agrees with a fork can keep who is behind a forked mirror fresh, so that
//     without a Trust this right belongs to members at the origin alone. Or fill the
//     stream for ever: a message may say that it never expires, and nobody may delete
//     it. Publishing and freshness then fail, loudly, until the stream is made anew,
//     larger; replicas go on refusing what they know. At 80 % of MaxBytes publishers
//     and followers log a warning.
//   - $JS.API.STREAM.INFO and $JS.API.STREAM.MSG.GET, which publishers use, the second
//     to notice that a restored disk has lost what they published: junk can be stored
//     with them, because the server sends its answer wherever the request asks it to,
//     into the stream as well, and no permission is looked up.
//   - $JS.API.CONSUMER.CREATE and MSG.NEXT, which followers need, or any direct get:
//     by the same way every message of the log can be stored again, on any subject of
//     the stream. That fills it, and, where there is no Trust, a cutoff without before
//     cuts off who has logged in since. So the right to follow is a right to write.
//     And to delete: the status that ends a pull is an empty message, and one that is
//     sent to $JS.API.STREAM.DELETE deletes the stream. Replicas keep what they know,
//     publishers give a new stream what they know.
//
// So put only members that are trusted to revoke into the account that holds the
// stream. Give verifiers another account, with a mirror of the stream there
// ([Config].Stream names it): a mirror takes messages from its origin alone. Verifiers
// set NoHeartbeats; the heartbeats of the members reach them through the mirror. In the
// way described above they can delete the mirror, but not the stream: all verifiers of
// that account are then stale until the mirror is made again. Give the mirror another
// name than the stream's. Verifiers that must not be able to harm one another need an
// account each. All need a reply inbox of their own
// ([Config].InboxPrefix). The directory examples/nats holds all of this as files.
package bus
