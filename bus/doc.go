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
// Two things bound what somebody in the NATS account can do: the subjects on which it may
// publish, and signatures.
//
// Tokens and sessions have ids that nobody guesses, and need no signature. The mass kinds (subject, client, tenant,
// key, issuer) name what can be guessed, so they can be made to need a signature: a follower
// with [Config].Trust heeds such an event only if one of those keys has signed it, by a
// [Config].Signer. Without a Trust every event in the stream counts. A signature keeps others
// from revoking. It does not keep them from storing a signed event a second time, which
// changes nothing, nor from filling the stream.
//
// A right to publish on an event's subject is a right to revoke. Grant rights with NATS accounts
// and permissions, and know how far each goes. In the account that holds the stream:
//
//   - The subject of one issuer and kind ([Subject]) is for publishers. Its holder can
//     revoke what that kind names for that issuer. With an event marked critical it can also
//     stop, for a TokenLifetime, the services that accept this issuer's tokens. Where there
//     is a Trust, an event of a mass kind needs a signature, and so does the mark.
//   - [HeartbeatSubject] is for members that keep replicas fresh. Its holder can also claim
//     that the log holds something else than it does. Members that follow the stream itself
//     then read the log a second time, within a minute and ever more rarely, up to once an
//     hour, and stay fresh. Members behind a mirror stay fresh while the digest of any other
//     member agrees. A claim that agrees with a forked mirror can keep the members behind
//     that mirror fresh, so that without a Trust this right belongs only to members that
//     follow the stream itself.
//   - A right to publish on any of these subjects is also one to fill the stream for ever: a
//     message may say that it never expires, and nobody may delete it. Publishing and
//     freshness then fail, loudly, until the stream is made anew, larger. Replicas go on
//     refusing what they know. At 80 % of MaxBytes publishers and followers log a warning.
//   - $JS.API.STREAM.INFO and $JS.API.STREAM.MSG.GET are for publishers; by the second
//     they notice that a restored disk has lost what they published. The server sends its
//     answer to the subject that the request names, asks for no permission there, and that
//     may be a subject of the stream: so its holder can store junk in the stream.
//   - $JS.API.CONSUMER.CREATE and MSG.NEXT are for followers. In the same way their holder,
//     or that of any direct get, can store every message of the log again, on any subject of
//     the stream: the right to follow is a right to write. That fills the stream, and where
//     there is no Trust, a cutoff without before revokes the logins made since. The holder
//     can delete the stream, too: a pull ends with an empty message, which
//     $JS.API.STREAM.DELETE takes for a request. Replicas keep what they know, and
//     publishers give it to the new stream.
//
// So put only members that are trusted to revoke into the account that holds the stream.
// Give verifiers another account, with a mirror of the stream, which takes messages only from
// the stream:
//
//   - Give the mirror a name of its own, and name it in the verifiers' [Config].Stream.
//   - Set NoHeartbeats for verifiers. The heartbeats of the others reach them through the
//     mirror.
//   - Give each member a reply inbox of its own ([Config].InboxPrefix).
//   - A verifier can delete the mirror, as above, but not the stream. All verifiers of that
//     account are then stale until the mirror is made again. Verifiers that must not be able
//     to harm one another need an account each.
//
// The directory examples/nats holds all of this as files.
package bus
