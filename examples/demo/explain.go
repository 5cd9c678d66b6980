package main

// An explanation says why something happens as it does, and where to read on.
type explanation struct{ title, why, docs string }

var explanations = map[string]explanation{
	"login": {"Login", "A login is a new session with tokens of its own. It passes every cutoff that was published before it.", "docs/browsers.md"},
	"add":   {"Another device", "Each device has a session: a chain of refresh tokens, and access tokens that the services verify by themselves.", "docs/browsers.md"},
	"logout": {"Logout", "The auth service publishes one event that names the session. Each service has it in its own memory before the next request, so that no request asks anybody. Open streams end, too.",
		"docs/how-it-works.md"},
	"others":   {"Logout everywhere but here", "An event of kind subject revokes whatever was issued to the user until now, and names the sessions that it spares.", "docs/how-it-works.md"},
	"password": {"Password change", "The password changes first; then one event cuts off everything that was issued before, but for the session that asked.", "docs/browsers.md"},
	"ban":      {"Ban", "The user table refuses the login, the event ends what there is. One without the other leaves a hole.", "docs/operations.md"},
	"lift":     {"Ban lifted", "Events only ever add, so order and repetition change nothing. A token that was revoked is never good again.", "docs/how-it-works.md"},
	"key":      {"Key compromise", "An event of kind key names the key’s thumbprint. It works within milliseconds, where a key that is merely taken out of the key set verifies until it is fetched again.", "docs/keys.md"},
	"steal-cookie": {"Stolen cookie", "An access token is good for everybody who has it. Sessions that are bound to a key of the device give a copied refresh token no use; a logout ends copies of both.",
		"docs/device-bound-sessions.md"},
	"steal-refresh": {"Stolen refresh token", "A refresh token is good once. Used again later than a lost answer explains, it is theft, and the session dies in the store and at every service.", "docs/apps.md"},
	"remove":        {"Row removed", "The session lives on: nobody revoked it.", "docs/browsers.md"},
	"policy":        {"Policy", "A policy decides about tokens that a replica does not know to be revoked while it cannot prove itself up to date. Known revocations are refused under each.", "README.md#guarantees"},
	"cut":           {"Cut off", "Freshness is proven by heartbeats in the same log as the events. None arrives, so the service knows that it may have missed something.", "docs/oncall.md#reasons"},
	"mend":          {"Mended", "A follower dials again for ever, and goes on in the log where it was.", "docs/oncall.md#reasons"},
	"restart":       {"Restarted", "A replica is never taken for complete before a heartbeat has proven it. A state file, which this service does without, has known revocations refused before that.", "docs/operations.md"},
	"stop":          {"NATS stopped", "No request depends on NATS, only the proof that the replica is up to date does.", "docs/operations.md"},
	"start":         {"NATS started", "The stream is on disk, synced with every event. An outbox keeps what was published while nobody could take it.", "docs/operations.md"},
	"rollback":      {"Rolled back", "A replica forgets nothing because the stream did. Publishers remember what was acknowledged and look whether the stream still has it.", "docs/oncall.md#after-the-stream-was-made-anew-or-restored"},
	"fork":          {"Mirror forked", "A place in a log proves nothing about its content. Heartbeats carry a digest of the log, and a replica behind a mirror is fresh only while one agrees with what it holds.", "docs/oncall.md#after-the-stream-was-made-anew-or-restored"},
	"remake":        {"Mirror made anew", "A mirror goes on by its numbers for ever. Only making it anew brings the two logs together.", "docs/oncall.md#after-the-stream-was-made-anew-or-restored"},
}
