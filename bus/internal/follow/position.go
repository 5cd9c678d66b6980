package follow

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A position is where a message stands in the log and among the deliveries of its
// consumer, as its reply subject says.
type position struct {
	sequence uint64 // in the stream
	delivery uint64 // of the consumer
	at       time.Time
	pending  uint64 // messages behind it
}

// positions reads the reply subjects of one consumer's deliveries. They differ in five
// numbers at their end alone: the first is read by the client library, with all its
// rules, and those that begin like it are read where they stand. The zero value knows
// of none yet.
type positions struct {
	before string // what the numbers stand behind, of a reply subject that was read with all rules
	more   bool   // further parts may stand behind them, as in the newer form
}

// of returns the position of a delivery of that consumer, of that stream.
func (p *positions) of(m *nats.Msg, stream, consumer string) (position, error) {
	if at, ok := p.quick(m.Reply); ok {
		return at, nil
	}
	md, err := m.Metadata()
	if err != nil {
		return position{}, fmt.Errorf("bus: delivery: %w", err)
	}
	if md.Stream != stream || md.Consumer != consumer {
		return position{}, fmt.Errorf("bus: delivery of another consumer, %q of %q", md.Consumer, md.Stream)
	}
	p.learn(m.Reply)
	return position{sequence: md.Sequence.Stream, delivery: md.Sequence.Consumer, at: md.Timestamp, pending: md.NumPending}, nil
}

// The parts of a reply subject; see package bus, WIRE.md.
const (
	olderParts = 9 // the newer form has at least two more, behind "$JS.ACK."
	numbers    = 5 // the last of the older form
)

// learn remembers what stands before the numbers of a reply subject that the client
// library has read.
func (p *positions) learn(reply string) {
	parts := strings.Count(reply, ".") + 1
	p.more = parts > olderParts
	skip := olderParts - numbers
	if p.more {
		skip += 2
	}
	rest := reply
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	p.before = reply[:len(reply)-len(rest)]
}

// quick reads what begins with p.before and has five plain numbers behind it. All else is
// not ok, and says nothing.
func (p *positions) quick(reply string) (at position, ok bool) {
	if p.before == "" || !strings.HasPrefix(reply, p.before) {
		return position{}, false
	}
	rest := reply[len(p.before):]
	var n [numbers]uint64
	for i := range n {
		digits := 0
		for ; digits < len(rest) && rest[digits]-'0' <= 9; digits++ {
			n[i] = 10*n[i] + uint64(rest[digits]-'0') // too large a one wraps, as in the client library
		}
		if digits == 0 {
			return position{}, false
		}
		rest = rest[digits:]
		if i < numbers-1 {
			if rest == "" || rest[0] != '.' {
				return position{}, false
			}
			rest = rest[1:]
		}
	}
	if rest != "" && (!p.more || rest[0] != '.') {
		return position{}, false
	}
	// The first says how often the message was delivered.
	return position{sequence: n[1], delivery: n[2], at: time.Unix(0, int64(n[3])), pending: n[4]}, true
}
