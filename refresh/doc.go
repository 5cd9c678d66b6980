// Package refresh keeps sessions: logins, rotating refresh tokens, logout everywhere.
//
// Begin with [NewManager]. [Manager.Login] follows your own check of a password or of
// whatever you ask for, and returns a [Grant]: an access token of package token and a
// refresh token. [Manager.Refresh] exchanges the refresh token for the next grant;
// [Manager.Logout], [Manager.Revoke] and [Manager.LogoutAll] end sessions, here and, by
// an event of package revoke, at every service within milliseconds. [Manager.DeleteSubject]
// also forgets whose they were.
//
// [Config].Store is the one of package natskv in production, and that of [NewMemoryStore] in tests.
// Where the store or the bus does not answer, a call waits for its context, or for 15 s if
// that has no deadline: give the handlers of [Manager.Login] and [Manager.Refresh] one of 5 s
// or so. What ends sessions does not stop with its context, see [Manager.Logout].
//
// # What it promises
//
// Of any number of concurrent uses of a refresh token one rotates it: the [Store]'s
// compare-and-set decides, and nothing that was read before. A client that did not get
// the answer tries again within a window ([Lifetimes].Grace) and is given the successor, as are
// all others who ask, the same byte for byte. Time in which no answer was possible does not
// count, up to five minutes; who is told to try again is not convicted for it. A client that
// comes later still is given another successor, by a ration ([Lifetimes].LateEvery): in
// [Consumer], and in [HighSecurity] for sessions that are bound to a key. Any other use
// ends the session in the store and at every service (RFC 9700 section 4.14.2). Inside the
// window a thief cannot be told from such a client; with [HighSecurity] there is no window.
//
// An instance that is cut off from a store which the others reach cannot tell them of it. Keep
// requests from it, or clients that it told to try again may be taken for thieves elsewhere.
//
// After a logout everywhere no token and no session of anybody who was authenticated
// before it goes on; a login after it passes, within the clocks' difference of it only
// with [Login].Recheck. A ban that others publish stops refreshing too. Until this
// process has seen it, tokens are dated so that it covers them: their iat is no later
// than what the replica of the denylist is proven to know. A ban stops no login: who is
// banned must fail your own check.
//
// # Sessions bound to a device
//
// A session that is bound to a key of its browser's device (Device Bound Session Credentials, a
// draft of the W3C, the text of 2026-02-17; Chromium 156 was looked at) is refreshed by proofs
// of that key: what was copied from the device, its cookies too, gets nothing. [Login].BindDevice
// offers it, [Manager.BindDevice] answers the registration, and [Manager.RefreshBound] each
// proof. Access tokens are bound to nothing: a copied one is good until it expires. A session
// stays bound for good, also if its browser does not know, because the answer to its
// registration was lost. [Request].InsecureUnbound lets such a browser go on, and one that has
// lost its key. The draft may change, and these with it.
//
// # When things fail
//
// Every error of a refresh is of one of two families. [ErrLoginAgain]: the session is
// over. [ErrTryAgain]: nobody can tell; the client keeps its token. A store that fails,
// a stale replica, a lost race are never taken for an invalid token. A crash at any step
// leaves a retry that works. What is over and could not be published is recorded as
// pending, reported as [ErrPending], and finished by the next call that comes upon it, or
// within about a minute by a Manager that runs: they look for it.
//
// # What rests in the store
//
// Hashes of random secrets; within the window the successor, encrypted under a key that
// only the holder of the predecessor can make; the public key of a device, and a salt by which
// challenges for it can be made and no proof; and in the clear what a page of devices
// shows. A thief of the store can refresh nothing. Of a session that is over there
// rest its id, its subject, its times, and by whom and why it was ended, until its last
// access token has expired; and until the services know of it, what a page of devices showed.
//
// Two versions of the package may share a store, from this one on: what one does not know
// in a record it writes back as it was, and where it must not ignore it, it issues no token by
// that record, which is [ErrStore], and ends its sessions as ever.
//
// # What it does not do
//
// It checks no password, knows no user, speaks no HTTP. Instances' clocks may differ by
// [revoke.Config].MaxSkew; one whose clock is further off mints nothing ([ErrTryAgain]).
package refresh
