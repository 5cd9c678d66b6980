package wire

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	wireVersion = 1

	// MaxMessageBytes is the largest message that the stream takes and that a
	// follower reads. It bounds how fast a flood can fill the stream.
	MaxMessageBytes = 64 << 10

	// MaxEventBytes leaves room for headers. Every legal event fits whose texts are
	// what identifiers are, whatever their length; one whose bytes have to be escaped,
	// each of which takes up to six ("\u0001"), may not.
	MaxEventBytes = MaxMessageBytes - 4<<10

	// largestPlain bounds the JSON of a legal event without escapes: around each text
	// stand quotes and a comma; the rest is names, numbers and punctuation.
	largestPlain = (2+revoke.MaxKeep)*(revoke.MaxValueBytes+3) + 3*(revoke.MaxReasonBytes+3) + 256

	maxHeartbeatBytes = 2 << 10
	MaxNameBytes      = 128 // of a member
)

var _ [MaxEventBytes - largestPlain]struct{} // the one must fit in the other

// A Message is what a record of the log says: an event, or a heartbeat.
type Message struct {
	Event     revoke.Event
	Received  replica.Received // the same, as the Feed takes it
	Heartbeat replica.Heartbeat
	Beat      bool // which of the two

	unusable []string // optional members of the event that it has and that could not be used
	Member   string   // of a message with a fault: what was at fault, if that is known

	// instead is the fault in place of FaultCritical, for who does not heed the mark.
	Instead revoke.Fault
}

// A Decoder reads records. It remembers the subjects of the issuer it read last: a
// hash for each event would be a good part of the work. It is not for concurrent use;
// its zero value is ready.
type Decoder struct {
	issuer string
	plain  bool   // a JSON text that holds it has its bytes, and no others
	prefix string // of the subjects of its events; empty: no issuer yet
}

// is reports whether events of that kind for that issuer have this subject.
func (d *Decoder) is(subject, issuer, kind string) bool {
	if d.prefix == "" || d.issuer != issuer {
		d.issuer, d.prefix = strings.Clone(issuer), IssuerPrefix(issuer) // the message is not kept for it
		d.plain = plainLength(issuer) == len(issuer)
	}
	rest, ok := strings.CutPrefix(subject, d.prefix)
	return ok && rest == kind
}

// Decode reads one record. A fault of zero means that there was none.
func (d *Decoder) Decode(subject string, data []byte) (Message, revoke.Fault) {
	if subject == HeartbeatSubject {
		hb, fault := decodeHeartbeat(data)
		return Message{Heartbeat: hb, Beat: true}, fault
	}
	if len(data) > MaxMessageBytes {
		return Message{}, revoke.FaultOversized
	}
	var received replica.Received
	if d.Plain(subject, bytes.Clone(data), &received) {
		return Message{Event: received.Event(), Received: received}, 0
	}
	m, fault, critical := d.anyEvent(subject, data)
	if fault != 0 && critical {
		return Message{Instead: fault, Member: m.Member}, revoke.FaultCritical
	}
	return m, fault
}

// A member is the value of one member of an event, not yet looked at: what type it must
// have depends on the version.
type member struct {
	strictjson.Value
	bad bool // it is there more than once, or is not strict JSON
}

func (m *member) set(v strictjson.Value, sound bool) {
	m.bad = !sound || present(m.Value)
	m.Value = v
}

// anyEvent reads whatever JSON. It also tells whether an event that is not understood,
// because it is of a version or kind to come, is marked critical.
//
// Only v, iss, kind and value can void an event. All else that cannot be used is left
// out and named in the message.
func (d *Decoder) anyEvent(subject string, data []byte) (msg Message, fault revoke.Fault, critical bool) {
	var v, crit, id, iss, kind, value, before, keep, until, reason, actor, at member
	err := strictjson.Salvage(data, func(name string, val strictjson.Value, sound bool) {
		switch name {
		case "v":
			v.set(val, sound)
		case "critical":
			crit.set(val, sound)
		case "id":
			id.set(val, sound)
		case "iss":
			iss.set(val, sound)
		case "kind":
			kind.set(val, sound)
		case "value":
			value.set(val, sound)
		case "before":
			before.set(val, sound)
		case "keep":
			keep.set(val, sound)
		case "until":
			until.set(val, sound)
		case "reason":
			reason.set(val, sound)
		case "actor":
			actor.set(val, sound)
		case "at":
			at.set(val, sound)
		}
	})
	malformed := func(member string) (Message, revoke.Fault, bool) {
		return Message{Member: member}, revoke.FaultMalformed, false
	}
	if err != nil {
		return malformed("")
	}
	// A version to come may have changed everything but these two members and the
	// meaning of the subject's prefix.
	marked, isMark := crit.Bool()
	marked = marked && !crit.bad
	switch n, ok := v.Integer(); {
	case !ok || n < 1 || v.bad:
		return malformed("v")
	case n != wireVersion:
		return Message{Member: "v"}, revoke.FaultVersion, marked
	}
	issuer, ok := iss.Text()
	if !ok || iss.bad || issuer == "" || len(issuer) > revoke.MaxValueBytes {
		return malformed("iss")
	}
	kindName, ok := kind.Text()
	if !ok || kind.bad || kindName == "" {
		return malformed("kind")
	}
	if !d.is(subject, issuer, kindName) {
		return Message{}, revoke.FaultSubject, false
	}
	k, ok := replica.ParseKind(kindName)
	if !ok {
		return Message{Member: "kind"}, revoke.FaultKind, marked
	}
	e := revoke.Event{Issuer: issuer, Kind: k}
	drop := func(name string, unusable bool) {
		if unusable {
			msg.unusable = append(msg.unusable, name)
		}
	}
	noValue := k == revoke.KindIssuer && value.Kind() == 'n' // as serializers write "absent"
	if !noValue && (value.bad || !text(value.Value, &e.Value)) {
		return malformed("value")
	}
	drop("value", noValue)
	drop("critical", present(crit.Value) && (!isMark || crit.bad))
	drop("id", id.bad || !text(id.Value, &e.ID))
	drop("reason", reason.bad || !text(reason.Value, &e.Reason))
	drop("actor", actor.bad || !text(actor.Value, &e.Actor))
	drop("before", before.bad || !Instant(before.Value, &e.Before))
	drop("until", until.bad || !Instant(until.Value, &e.Until))
	drop("at", at.bad || !Instant(at.Value, &e.At))
	if keep.bad || !texts(keep.Value, &e.Keep, revoke.MaxKeep) {
		e.Keep = nil // and not what was read of it: who else was meant nobody knows
		drop("keep", true)
	}
	received, err := replica.Receive(e, msg.unusable...)
	if err != nil {
		return malformed("value")
	}
	msg.Received, msg.Event, msg.unusable = received, received.Event(), received.Unusable()
	return msg, 0, false
}

// EncodeEvent returns the canonical JSON of e, of which a replica must find every member
// usable: members in a fixed order, empty ones left out, times rounded up to milliseconds.
func EncodeEvent(e *revoke.Event) ([]byte, error) {
	read := *e
	if unusable, err := read.DropUnusable(); err != nil {
		return nil, err
	} else if len(unusable) > 0 {
		return nil, e.Validate()
	}
	return EncodeUsable(e)
}

// EncodeUsable is EncodeEvent of an event that was judged already.
func EncodeUsable(e *revoke.Event) ([]byte, error) {
	w := writer{buf: append(make([]byte, 0, 256), `{"v":1`...)}
	w.text("id", e.ID)
	w.text("iss", e.Issuer)
	w.text("kind", e.Kind.String())
	w.text("value", e.Value)
	w.millis("before", e.Before)
	if len(e.Keep) > 0 {
		w.buf = append(w.buf, `,"keep":[`...)
		for i, sid := range e.Keep {
			if i > 0 {
				w.buf = append(w.buf, ',')
			}
			w.quote(sid)
		}
		w.buf = append(w.buf, ']')
	}
	w.millis("until", e.Until)
	w.text("reason", e.Reason)
	w.text("actor", e.Actor)
	w.millis("at", e.At)
	data, err := w.end()
	if err == nil && len(data) > MaxEventBytes {
		return nil, fmt.Errorf("%w: %d bytes of JSON, more than %d", revoke.ErrInvalidEvent, len(data), MaxEventBytes)
	}
	return data, err
}
