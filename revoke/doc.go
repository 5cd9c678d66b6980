// Package revoke is a denylist for JWT access tokens that answers locally, from
// memory, and knows how old its knowledge is.
//
// # Which door to use
//
// A service makes one [List] with [NewList], gives it to a bus to follow (package
// bus) and to its verifier (package token), and need not call anything else here. A
// program that lives in one process sets Config.Local and feeds the List by
// [List.Apply]. A service that revokes makes an [Event] and publishes it.
//
// # What it promises
//
// An [Event] names a token, a session, a subject, a client, a tenant, a key or an
// issuer ([Kind]), each scoped by issuer. The cutoff kinds revoke what was issued up
// to an instant, so that a login after it passes (see [Event].Before for how it is dated); an
// event of [KindSubject] can spare sessions, so that a password change need not end the session it was made in. A
// token is refused if some live event revokes it: events only add, and their order
// and number change nothing. There is no un-revoke.
//
// A Bloom filter stands before an exact table. The filter alone never refuses: a
// refusal is by a keyed identity of 112 bits. Entries are forgotten only when every
// token they concern has expired by the local clock and by the stream's both.
//
// # What it says when it cannot know
//
// A List that a bus feeds is [StateSyncing] until its log was read to an end that is
// proven, then [StateFresh] while that proof is younger than Config.MaxStaleness, then
// [StateStale]. What is known to be revoked is refused in every state. For everything
// else the caller's [Policy] decides while the List is not fresh; the zero Policy
// refuses with [ErrStale], which a server answers with 503, never with 401. When the
// follower is closed or disconnected, nothing is forgotten and age alone decides.
//
// Config.StateFile carries what is known over a restart, so that it is refused before
// the bus answers; it proves nothing fresh.
//
// The proven instant comes from the total order of the log: a replica that has applied a
// heartbeat has applied everything acknowledged before it was sent.
//
// # What it refuses to do
//
// It does not verify tokens, and must be asked only about claims that were verified.
// It never hashes the token's bytes, since one token has many encodings. It makes no
// network call and starts no timer: every method takes the present [Instant].
package revoke
