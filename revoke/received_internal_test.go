package revoke

import (
	"testing"
	"time"
)

// ts is the stream's timestamp of the events below, and held what their stream is for.
var (
	ts   = time.UnixMilli(1_800_000_000_000)
	held = Retention{TokenLifetime: time.Hour, SessionLifetime: 30 * 24 * time.Hour, MaxSkew: 3 * time.Second}
)

const day = 24 * time.Hour

// What a received event may do is bounded by its stream's timestamp: how far its cutoff reaches,
// how long it lives, and that no token concerned outlives it.
func TestReceivedEventsAreBounded(t *testing.T) {
	slack := held.Slack()
	if slack != 6*time.Second {
		t.Fatal(slack)
	}
	at := func(d time.Duration) time.Time { return ts.Add(d) }
	for name, c := range map[string]struct {
		kind                  Kind
		before, until, at     time.Time
		wantBefore, wantUntil time.Time
	}{
		"no cutoff, no end":              {KindSubject, time.Time{}, time.Time{}, time.Time{}, at(slack), at(30 * day)},
		"a cutoff at the bound":          {KindSubject, at(slack), time.Time{}, at(0), at(slack), at(30 * day)},
		"a cutoff beyond it":             {KindClient, at(slack + time.Millisecond), time.Time{}, at(0), at(slack), at(30 * day)},
		"the publisher's clock is ahead": {KindTenant, at(time.Hour), time.Time{}, at(time.Minute), at(time.Minute + slack), at(30 * day)},
		"it is behind":                   {KindIssuer, at(time.Hour), time.Time{}, at(-time.Minute), at(slack), at(30 * day)},
		"it is ahead by a day":           {KindSubject, at(9 * day), time.Time{}, at(day), at(day + slack), at(30 * day)},
		"it is ahead by more than a day": {KindSubject, at(9 * day), time.Time{}, at(day + time.Second), at(day + slack), at(30 * day)},
		"a fraction of a millisecond":    {KindSubject, time.Time{}, time.Time{}, at(1), at(slack + time.Millisecond), at(30 * day)},
		"an early cutoff":                {KindSubject, at(-10 * day), at(-9 * day), at(0), at(-10 * day), at(-9 * day)},
		"an end before its tokens'":      {KindSubject, at(-10 * time.Minute), at(0), at(0), at(-10 * time.Minute), at(50 * time.Minute)},
		"an end at its tokens'":          {KindSubject, at(0), at(time.Hour), at(0), at(0), at(time.Hour)},
		"an end that is too late":        {KindSubject, at(0), at(9999 * day), at(0), at(0), at(held.Longest(KindSubject))},
		"a session, no end":              {KindSession, time.Time{}, time.Time{}, at(0), time.Time{}, at(30 * day)},
		"a session's end is too early":   {KindSession, time.Time{}, at(time.Minute), at(0), time.Time{}, at(time.Hour)},
		"a token, no end":                {KindToken, time.Time{}, time.Time{}, at(0), time.Time{}, at(30 * day)},
		"a token's end is the caller's":  {KindToken, time.Time{}, at(time.Second), at(0), time.Time{}, at(time.Second)},
		"a key, no end":                  {KindKey, time.Time{}, time.Time{}, at(0), time.Time{}, at(365 * day)},
		"a key's end is the caller's":    {KindKey, time.Time{}, at(time.Second), at(0), time.Time{}, at(time.Second)},
		"a key's end that is too late":   {KindKey, time.Time{}, at(99999 * day), at(0), time.Time{}, at(held.Longest(KindKey))},
	} {
		e := Event{Kind: c.kind, Before: c.before, Until: c.until, At: c.at}
		e.clamp(ts, held)
		if !e.Before.Equal(c.wantBefore) || !e.Until.Equal(c.wantUntil) {
			t.Errorf("%s: before %s, until %s", name, e.Before.Sub(ts), e.Until.Sub(ts))
		}
	}
}

// A member that could not be used is taken for what revokes most.
func TestUnusableMembersRevokeMost(t *testing.T) {
	slack := held.Slack()
	at := func(d time.Duration) time.Time { return ts.Add(d) }
	for name, c := range map[string]struct {
		unusable                      []string
		kind                          Kind
		before, until, at             time.Time
		wantBefore, wantUntil, wantAt time.Time
	}{
		"nothing":                                {nil, KindSubject, at(1), at(2), at(3), at(1), at(2), at(3)},
		"what is for people":                     {[]string{"reason", "actor", "id", "keep"}, KindSubject, at(1), at(2), at(3), at(1), at(2), at(3)},
		"at":                                     {[]string{"at"}, KindSubject, at(time.Hour), at(2), time.Time{}, at(time.Hour), at(2), at(time.Hour - slack)},
		"at, and there is no before":             {[]string{"at"}, KindSubject, time.Time{}, at(2), time.Time{}, time.Time{}, at(2), time.Time{}},
		"before":                                 {[]string{"before"}, KindSubject, time.Time{}, at(2), at(3), maxTime, at(2), at(3)},
		"before, of no cutoff":                   {[]string{"before"}, KindSession, time.Time{}, at(2), at(3), time.Time{}, at(2), at(3)},
		"until of a subject":                     {[]string{"until"}, KindSubject, at(1), time.Time{}, at(-time.Minute), at(1), at(30 * day), at(-time.Minute)},
		"until of a session":                     {[]string{"until"}, KindSession, time.Time{}, time.Time{}, at(time.Minute), time.Time{}, at(30*day + time.Minute), at(time.Minute)},
		"until of a token":                       {[]string{"until"}, KindToken, time.Time{}, time.Time{}, at(time.Minute), time.Time{}, at(time.Hour + time.Minute), at(time.Minute)},
		"until of a key":                         {[]string{"until"}, KindKey, time.Time{}, time.Time{}, at(0), time.Time{}, at(held.Longest(KindKey)), at(0)},
		"until, the publisher is a day ahead":    {[]string{"until"}, KindToken, time.Time{}, time.Time{}, at(day), time.Time{}, at(day + time.Hour), at(day)},
		"until, the publisher is two days ahead": {[]string{"until"}, KindToken, time.Time{}, time.Time{}, at(2 * day), time.Time{}, at(day + time.Hour), at(2 * day)},
		"several":                                {[]string{"before", "until", "at"}, KindClient, time.Time{}, time.Time{}, time.Time{}, maxTime, at(30 * day), time.Time{}},
	} {
		e := Event{Kind: c.kind, Before: c.before, Until: c.until, At: c.at}
		e.assume(c.unusable, ts, held)
		if !e.Before.Equal(c.wantBefore) || !e.Until.Equal(c.wantUntil) || !e.At.Equal(c.wantAt) {
			t.Errorf("%s: before %s, until %s, at %s", name, e.Before.Sub(ts), e.Until.Sub(ts), e.At.Sub(ts))
		}
	}
}
