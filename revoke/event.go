package revoke

import (
	"encoding/base64"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// An Event revokes tokens. Events only ever add: there is no un-revoke, and
// order and duplication change nothing (invariant 4).
type Event struct {
	ID     string // identifies the event in logs; a publisher sets it when empty
	Issuer string // iss of the tokens; a publisher configured for one issuer fills it in
	Kind   Kind   // what Value names
	Value  string // jti, sid, sub, client_id, tenant or key thumbprint; empty for KindIssuer
	// Before is the cutoff: tokens with [Identity].MintedAt ≤ Before are revoked, and
	// those without it by their iat. It is rounded up to milliseconds. Zero means now
	// and the slack, see [Retention.Slack], for clocks that differ: what is issued next
	// has to be dated past it, as package token/issue does with the event's [Receipt].
	Before time.Time
	Keep   []string // KindSubject: sids that the event spares, at most [MaxKeep]
	// Until is when every token concerned has expired, without leeway. Zero means the
	// longest retention. A publisher refuses one that tokens would outlive, see
	// [Event.Complete]; a replica that receives one keeps the event for as long as they
	// may live.
	Until  time.Time
	Reason string    // for people: "logout", "password_change"; at most [MaxReasonBytes]. Never put a secret here
	Actor  string    // for people: who asked for it
	At     time.Time // the publisher's clock when it published; a publisher sets it
}

// TokenOf returns the event that revokes exactly the token id was verified from.
// It fails if the token has no jti.
func TokenOf(id Identity) (Event, error) {
	e := Event{Issuer: id.Issuer, Kind: KindToken, Value: id.Token, Until: id.ExpiresAt}
	if id.Token == "" {
		return Event{}, invalid("the token has no jti")
	}
	return e, e.Validate()
}

// Validate reports, in the family [ErrInvalidEvent], what is wrong with e
// whatever the time. An empty Issuer is invalid, and so is what has the form of a
// credential ([ErrCredential]) or cannot be an identifier (white space around it, a control character).
func (e *Event) Validate() error {
	if count := judged.Load(); count != nil {
		count.Add(1)
	}
	if err := e.checkCredentials(); err != nil { // also where they are too long
		return err
	}
	if err := e.checkNamed(); err != nil {
		return err
	}
	if err := e.checkKeep(); err != nil {
		return err
	}
	if !e.Before.IsZero() && !e.Kind.Cutoff() {
		return invalid("before is not for kind %s", e.Kind)
	}
	for _, f := range []struct {
		name string
		t    time.Time
	}{{"before", e.Before}, {"until", e.Until}, {"at", e.At}} {
		if !f.t.IsZero() && !usableTime(f.t) {
			return invalid("%s %s is no time in milliseconds (seconds, perhaps?)", f.name, f.t.UTC().Format(time.RFC3339))
		}
	}
	if err := checkText("id", e.ID, 0, MaxReasonBytes); err != nil {
		return err
	}
	if err := checkText("reason", e.Reason, 0, MaxReasonBytes); err != nil {
		return err
	}
	if err := checkText("actor", e.Actor, 0, MaxReasonBytes); err != nil {
		return err
	}
	return e.checkForms()
}

// checkNamed judges what e revokes.
func (e *Event) checkNamed() error {
	if e.Kind == 0 {
		return invalid("kind is missing")
	}
	if !e.Kind.valid() {
		return invalid("unknown kind %d", uint8(e.Kind))
	}
	if err := checkText("issuer", e.Issuer, 1, MaxValueBytes); err != nil {
		return err
	}
	switch e.Kind {
	case KindIssuer:
		if e.Value != "" {
			return invalid("kind issuer takes no value")
		}
	case KindKey:
		if !isThumbprint(e.Value) {
			return invalid("key value is not an RFC 7638 SHA-256 thumbprint (43 base64url characters)")
		}
	default:
		if e.Value == "" { // for one, of a token without that claim
			return invalid("value is empty: kind %s needs a %s", e.Kind, valueNames[e.Kind])
		}
		return checkText("value", e.Value, 1, MaxValueBytes)
	}
	return nil
}

func (e *Event) checkKeep() error {
	switch {
	case len(e.Keep) == 0:
		return nil
	case e.Kind != KindSubject:
		return invalid("keep is only for kind subject, not %s", e.Kind)
	case len(e.Keep) > MaxKeep:
		return invalid("keep names %d sessions, more than %d", len(e.Keep), MaxKeep)
	}
	for _, sid := range e.Keep {
		if err := checkText("keep", sid, 1, MaxValueBytes); err != nil {
			return err
		}
	}
	return nil
}

// Complete returns e with the fields that a publisher fills in, and refuses what
// replicas would clamp. now is the publisher's clock, which becomes At.
//
// Refused is also an Until that tokens concerned would outlive: one that lies less than
// the TokenLifetime of h ahead, by more than a minute at most (of kinds [KindToken] and [KindKey] it is the caller's to choose).
// That counts from now, from an earlier Before, or from an earlier At, which an event that
// was published before has.
func (e Event) Complete(now time.Time, h Retention) (Event, error) {
	if err := e.Validate(); err != nil {
		return Event{}, err
	}
	e.Keep = slices.Clone(e.Keep)
	return e.complete(now, h)
}

// judged, if a test has set it, counts how often events are judged.
var judged atomic.Pointer[atomic.Int64]

// complete is [Event.Complete] of an event that was judged already.
func (e Event) complete(now time.Time, h Retention) (Event, error) {
	if e.Kind == 0 {
		return Event{}, invalid("kind is missing")
	}
	if now = now.Round(0); !usableTime(now) {
		return Event{}, invalid("at %s is no time: the clock is wrong", now.UTC().Format(time.RFC3339))
	}
	asked := e.At
	if asked.IsZero() || asked.After(now) {
		asked = now
	}
	e.At = now
	from := now
	if e.Kind.Cutoff() {
		if e.Before.IsZero() {
			e.Before = now.Add(h.Slack())
		}
		e.Before = ceilMilli(e.Before)
		if e.Before.After(now.Add(h.Slack() + time.Millisecond)) {
			return Event{}, invalid("before lies %s ahead, more than %s: it would lock out logins to come", e.Before.Sub(now).Round(10*time.Millisecond), h.Slack())
		}
		if e.Before.After(from) {
			from = e.Before
		}
	}
	if e.Until.IsZero() {
		switch e.Kind {
		case KindToken:
			e.Until = now.Add(h.TokenLifetime)
		case KindKey:
			e.Until = now.Add(defaultKey)
		default:
			e.Until = from.Add(max(h.TokenLifetime, h.SessionLifetime))
		}
	}
	if e.Kind != KindToken && e.Until.Before(now) { // an expired token may be revoked, to no effect
		return Event{}, invalid("until lies %s back: the event would revoke nothing", now.Sub(e.Until).Round(time.Second))
	}
	// Until was worked out a while ago, by another clock perhaps, for an event that is tried
	// again; what it lacks, replicas add.
	late := max(min(h.TokenLifetime/4, time.Minute), h.skew())
	if least := e.least(asked, h); e.Until.Before(least.Add(-late)) {
		return Event{}, invalid("until lies %s ahead, less than the %s that tokens may live: they would outlive their revocation",
			e.Until.Sub(now).Round(time.Second), h.TokenLifetime)
	}
	if limit := now.Add(h.Longest(e.Kind)); e.Until.After(limit) {
		return Event{}, invalid("until lies %s ahead, more than %s", e.Until.Sub(now).Round(time.Second), limit.Sub(now))
	}
	e.Until = ceilMilli(e.Until)
	return e, nil
}

// least returns the earliest Until that no token concerned outlives, by h, where the
// event counts from at; zero for the kinds of which the caller alone can know.
func (e *Event) least(at time.Time, h Retention) time.Time {
	if e.Kind == KindToken || e.Kind == KindKey {
		return time.Time{}
	}
	if e.Kind.Cutoff() && e.Before.Before(at) { // nothing that was issued later is concerned
		at = e.Before
	}
	return at.Add(h.TokenLifetime)
}

// clamp bounds what a received event may do by its stream timestamp, which is the
// same on every replica and at every replay.
func (e *Event) clamp(ts time.Time, h Retention) {
	if e.Kind.Cutoff() {
		// A broker whose clock is behind must not un-revoke, hence the publisher's
		// clock where it is ahead; and it must not revoke the future, hence the bound.
		limit := ts
		if e.At.After(limit) {
			limit = e.At
		}
		if furthest := ts.Add(maxAhead); limit.After(furthest) {
			limit = furthest
		}
		limit = ceilMilli(limit).Add(h.Slack())
		if e.Before.IsZero() || e.Before.After(limit) {
			e.Before = limit
		}
	}
	bound := ts.Add(h.Longest(e.Kind))
	switch {
	case e.Until.IsZero() && e.Kind == KindKey:
		e.Until = ts.Add(defaultKey)
	case e.Until.IsZero():
		e.Until = ts.Add(max(h.TokenLifetime, h.SessionLifetime))
	}
	if e.Until.After(bound) {
		e.Until = bound
	}
	if least := e.least(ts, h); e.Until.Before(least) {
		e.Until = least
	}
}

func checkText(field, s string, least, most int) error {
	switch {
	case len(s) < least:
		return invalid("%s is empty", field)
	case len(s) > most:
		return invalid("%s has %d bytes, more than %d", field, len(s), most)
	case !utf8.ValidString(s):
		return invalid("%s is not valid UTF-8", field)
	}
	return nil
}

func isThumbprint(s string) bool {
	if len(s) != 43 {
		return false
	}
	for i := range len(s) {
		if s[i] == '\r' || s[i] == '\n' { // which the decoder would skip
			return false
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32
}
