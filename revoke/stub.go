package revoke

import "time"

// TEMPORARY signatures; the real code replaces this file.

type List struct{ cfg Config }

func NewList(cfg Config) (*List, error)                         { panic("stub") }
func (l *List) Config() Config                                  { return l.cfg }  // with defaults resolved
func (l *List) Apply(now Instant, e Event) error                { panic("stub") } // publish-side rules (Complete) with now; for Local lists and read-your-writes
func (l *List) Check(now Instant, id *Identity, p Policy) error { panic("stub") } // *RevokedError, *StaleError or nil; lock-free, no allocation
func (l *List) Status(now Instant) Status                       { panic("stub") }
func (l *List) Stats(now Instant) Stats                         { panic("stub") }
func (l *List) ExpectIssuer(iss string)                         { panic("stub") } // a verifier names its issuer; events of other issuers are counted
func (l *List) NewFeed() (*Feed, error)                         { panic("stub") } // fails for a Local List, or one already fed (ErrInUse)
type Stats struct{ Entries int }

func (f *Feed) Begin(now Instant, info LogInfo) Subscription        { panic("stub") }
func (f *Feed) Event(now Instant, r Record, e Event) error          { panic("stub") } // e as decoded; clamping is done here
func (f *Feed) Heartbeat(now Instant, r Record, hb Heartbeat) error { panic("stub") }
func (f *Feed) Fault(now Instant, r Record, fault Fault) error      { panic("stub") }
func (f *Feed) Broken(now Instant, reason Reason)                   { panic("stub") } // the subscription ended, or could not be made, for that reason
func (f *Feed) Sent(now Instant, nonce [16]byte)                    { panic("stub") } // before the only attempt to publish an own heartbeat
func (f *Feed) BeatIn(now Instant) time.Duration                    { panic("stub") } // until this member should beat; ≤ 0: now
func (f *Feed) Close(now Instant)                                   { panic("stub") } // idempotent; P stands still, reason closed
