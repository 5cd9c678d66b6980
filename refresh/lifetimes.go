package refresh

import (
	"fmt"
	"time"
)

// Lifetimes says how long sessions and their tokens live. All are counted in
// milliseconds. The zero Lifetimes are [HighSecurity]; in any others Idle, Absolute and
// Access are required, each at least 10 s.
type Lifetimes struct {
	// Idle is how long a session may go without a refresh, Absolute how long it may last
	// at all (OWASP ASVS 5.0, 7.3), at most 366 days. Both bound the access tokens' exp.
	Idle, Absolute time.Duration

	// Access is exp − iat of access tokens; at most the Issuer's Lifetime, and Idle.
	Access time.Duration

	// Grace is how long after its use a refresh token may be presented again, by a
	// client that did not get the answer, and be answered with its successor. Within it
	// a thief cannot be told from such a client; outside it a second use ends the
	// session. The clocks of instances may differ, so the window is longer by the MaxSkew
	// of Config.Revocations: 12 s with Grace 10 s and the usual 2 s. Zero: none, so that
	// a lost answer costs the session, also to a client that has asked once: libcurl and
	// Java's HttpURLConnection send a POST again by themselves when a kept connection ends
	// without an answer (findings/curl-resends-post.sh). It counts from the use, not from
	// when the store had written it: over a cluster that elects a leader for 9 s, clients
	// that hang up and try again later need 30 s. At most a minute.
	//
	// However many ask within it, all are given the same successor, of one session 200 at
	// once and 20 a second by each Manager: others are told to try again, for which the window
	// stays open for half a minute at most. Time in which retries could not be answered,
	// because the store, the application, the denylist or this process's clock failed, or the
	// record is of a version that this one does not understand, does not count, up to five
	// minutes for each use. After more of it a retry that cannot be told from a theft is
	// refused ([ErrLoginAgain], "too late" in [Outcomes]), and the session goes on.
	Grace time.Duration

	// LateEvery is the ration of late retries: once in that time, and three times in a
	// session's life, a client may present a used refresh token again after the window, if
	// nobody has presented its successor: a phone that slept through the answer. It is given
	// a new successor, and anyone who presents the one that waited is a thief. Zero: none, such
	// a retry ends the session. At least ten minutes otherwise, unless Absolute is less.
	LateEvery time.Duration

	// LateBound keeps the ration to sessions that are bound to a key ([Login].Binding),
	// whose tokens nobody else can use (FAPI 2.0). False: all have it.
	LateBound bool
}

// Three profiles.
var (
	HighSecurity = Lifetimes{Idle: 15 * time.Minute, Absolute: 30 * time.Minute, Access: 5 * time.Minute, LateEvery: 24 * time.Hour, LateBound: true}
	Web          = Lifetimes{Idle: time.Hour, Absolute: 24 * time.Hour, Access: 15 * time.Minute, Grace: 10 * time.Second}
	Consumer     = Lifetimes{Idle: 30 * 24 * time.Hour, Absolute: 90 * 24 * time.Hour, Access: 15 * time.Minute, Grace: 10 * time.Second, LateEvery: 24 * time.Hour}
)

func (l Lifetimes) withDefaults() (Lifetimes, error) {
	if l == (Lifetimes{}) {
		l = HighSecurity
	}
	const year = 366 * 24 * time.Hour
	for _, d := range []struct {
		name       string
		value      time.Duration
		least, max time.Duration
	}{
		{"Access", l.Access, 10 * time.Second, l.Idle},
		{"Idle", l.Idle, 10 * time.Second, l.Absolute},
		{"Absolute", l.Absolute, 10 * time.Second, year},
		{"Grace", l.Grace, 0, time.Minute},
	} {
		if d.value < d.least || d.value > d.max || d.value%time.Millisecond != 0 {
			return l, fmt.Errorf("refresh: Config.Lifetimes.%s is %s, not whole milliseconds between %s and %s", d.name, d.value, d.least, d.max)
		}
	}
	if least := min(10*time.Minute, l.Absolute); l.LateEvery != 0 && (l.LateEvery < least || l.LateEvery > year) {
		return l, fmt.Errorf("refresh: Config.Lifetimes.LateEvery is %s, neither 0 nor between %s and %s", l.LateEvery, least, year)
	}
	return l, nil
}
