// Package natskv keeps sessions, and the keyrings of package token/issue, in a key-value bucket
// of NATS JetStream, so that all instances of a service share them.
//
// An operator makes the bucket once with [CreateBucket]; [New] opens it, and refuses
// one whose settings would forget sessions or bring dead ones back. A [Store] is a
// refresh.Store.
//
// # What it promises
//
// Every write is a compare-and-set that a majority of the bucket's servers has
// committed. A write that gets no answer is sent again, marked as the same, so that
// what became of it is known even if a server dies in between; only when ctx ends
// first does Save fail without an answer, and never with refresh.ErrConflict by guess.
// While the bucket's servers elect a leader, 2 to 9 s, calls wait.
//
// Reads are answered by the server that takes itself for the bucket's leader. One that was
// deposed while it was cut off from its peers does not know that, and can answer with what
// is up to 20 s old. Nothing follows from such an answer, since the next write fails. But
// "there is no such record" could end an honest session, so this answer is given only
// after a majority has confirmed it, which costs a write; to read a record that exists
// costs none.
// Strangers can ask for sessions that never were: a Store confirms eight at a time and
// has the others wait; users who log in for the first time do not wait for them. Limit
// how often one address may present refresh tokens that turn out to be unknown.
//
// A record outlives its expiry by [Config].ClockSkew, because it is forgotten by the
// servers' clocks, each by its own; it then leaves no trace and takes no room.
//
// # What it does not promise
//
// A bucket restored from a backup has forgotten what was acknowledged since: declare it with
// refresh.Manager.DeclareRestore, or sessions that are over live again. A bucket with fewer than three replicas, in memory, or on
// servers without sync_interval: always can lose what was acknowledged with one
// machine. New warns of what it can see.
//
// # Rights
//
// The service's credentials need, for bucket "sessions":
//
//	publish    $KV.sessions.>
//	           $JS.API.STREAM.INFO.KV_sessions
//	           $JS.API.STREAM.MSG.GET.KV_sessions
//	subscribe  _INBOX_<name>.>     with nats.CustomInboxPrefix("_INBOX_<name>")
//
// and no more. Who has them can end, delay and list all sessions, and open none: a
// record holds no token, and no key that is not sealed. They can also delete a keyring, and
// put an old one back. Nobody else belongs into this account, because any
// right there to send requests is a right to write into the bucket: the server sends
// its answer wherever the request asks it to. CreateBucket also needs
// $JS.API.STREAM.CREATE.KV_sessions.
package natskv
