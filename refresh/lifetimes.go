package refresh

import (
	"fmt"
	"time"
)

// Lifetimes says how long sessions and their tokens live. All are counted in
// milliseconds. The zero Lifetimes are [HighSecurity].
type Lifetimes struct {
	// Idle is how long a session may go without a refresh, Absolute how long it may last
	// at all (OWASP ASVS 5.0, 7.3). Both bound the access tokens' exp.
	Idle, Absolute time.Duration

	// Access is exp − iat of access tokens; at most the Issuer's.
	Access time.Duration

	// Grace is how long after its use a refresh token may be presented again, by a
	// client that did not get the answer, and be answered with its successor. Within it
	// a thief cannot be told from such a client; outside it a second use ends the
	// session. The clocks of instances may differ, so the window is longer by the MaxSkew
	// of Config.Revocations: 12 s with Grace 10 s and the usual 2 s. Zero: none, so that
	// a lost answer costs the session. It counts from the use, not from when the store
	// had written it: over a cluster that elects a leader for 9 s, clients that hang up
	// and try again later need 30 s. At most a minute.
	Grace time.Duration

	// Answers is how many such retries of one refresh token are answered. Zero means 3;
	// at most 16.
	Answers int
}

// Three profiles.
var (
	HighSecurity = Lifetimes{Idle: 15 * time.Minute, Absolute: 30 * time.Minute, Access: 5 * time.Minute}
	Web          = Lifetimes{Idle: time.Hour, Absolute: 24 * time.Hour, Access: 15 * time.Minute, Grace: 10 * time.Second}
	Consumer     = Lifetimes{Idle: 30 * 24 * time.Hour, Absolute: 90 * 24 * time.Hour, Access: 15 * time.Minute, Grace: 10 * time.Second}
)

func (l Lifetimes) withDefaults() (Lifetimes, error) {
	if l == (Lifetimes{}) {
		l = HighSecurity
	}
	if l.Answers == 0 {
		l.Answers = 3
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
	if l.Answers < 0 || l.Answers > 16 {
		return l, fmt.Errorf("refresh: Config.Lifetimes.Answers is %d, not between 0 and 16", l.Answers)
	}
	return l, nil
}
