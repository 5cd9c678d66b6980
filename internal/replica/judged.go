package replica

import (
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Valid is an event that its Validate has accepted. A publisher that has to wait
// before it can complete an event refuses it before, and judges it once. The zero value
// is no event.
type Valid struct{ event revoke.Event }

// Validate returns e as one that is valid, or the error of its Validate.
func Validate(e revoke.Event) (Valid, error) {
	if err := e.Validate(); err != nil {
		return Valid{}, err
	}
	e.Keep = slices.Clone(e.Keep)
	return Valid{e}, nil
}

// Event returns the event as it was accepted. Its Keep must not be changed.
func (v Valid) Event() revoke.Event { return v.event }

// Complete is that of the event, which is not judged again.
func (v Valid) Complete(now time.Time, h revoke.Retention) (revoke.Event, error) {
	return in.Complete(v.event, now, h)
}

// A Received is what a message says, judged once: an event of which all is usable, and
// the names of the members that were not. The zero value is no event.
type Received struct {
	event    revoke.Event
	unusable []string
	judged   bool // and can be applied
}

// Receive returns e without what its DropUnusable leaves out. unusable names members, as
// on the wire, that the message had and that are missing from e because they could not be
// used.
func Receive(e revoke.Event, unusable ...string) (Received, error) {
	r := Received{event: e}
	if err := r.Judge(unusable...); err != nil {
		return Received{}, err
	}
	return r, nil
}

// Begin makes r no event, and returns the place of one that is to be read into it, empty.
// Once [Received.Judge] has accepted that, it must not be changed.
func (r *Received) Begin() *revoke.Event {
	*r = Received{}
	return &r.event
}

// Judge makes r what [Receive] returns for the event in it.
func (r *Received) Judge(unusable ...string) error {
	dropped, err := r.event.DropUnusable()
	if err != nil {
		return err
	}
	if r.unusable = unusable; len(dropped) > 0 {
		r.unusable = append(slices.Clone(unusable), dropped...)
	}
	r.judged = true
	return nil
}

// Kind is that of the event.
func (r *Received) Kind() revoke.Kind { return r.event.Kind }

// Event returns what is usable. Its Keep must not be changed.
func (r *Received) Event() revoke.Event { return r.event }

// AllUsable reports whether there was nothing that could not be used.
func (r *Received) AllUsable() bool { return len(r.unusable) == 0 }

// Unusable names the members that the message had and that could not be used.
func (r *Received) Unusable() []string { return slices.Clone(r.unusable) }

// CheckIdentifier reports what keeps s from being an iss, jti, sid, sub, client_id or
// tenant that an event names: it is empty, longer than [revoke.MaxValueBytes] or not UTF-8,
// begins or ends with white space, holds a line break, tab, NUL, ESC or DEL, as what was
// read from a file or a terminal does, or has the form of a credential
// ([revoke.ErrCredential]). Foreign identifiers of whatever form are none of these: e-mail
// addresses, URLs, "auth0|…", distinguished names, base64. The error, of the family
// [revoke.ErrInvalidEvent], names field and never s.
func CheckIdentifier(field, s string) error { return in.CheckIdentifier(field, s) }

// CeilMilli rounds t up to whole milliseconds, the unit of the protocol: an event
// revokes no less for having been written down.
func CeilMilli(t time.Time) time.Time { return in.CeilMilli(t) }

// ParseKind returns the kind with that name on the wire.
func ParseKind(name string) (revoke.Kind, bool) { return in.ParseKind(name) }
