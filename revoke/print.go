package revoke

import (
	"fmt"
	"io"
	"log/slog"
)

// What holds the key of the identities, or changes while it is printed, prints as one
// line, whatever the verb: fmt would otherwise walk its fields, the key among them, beside
// the writers, and for verbs such as %d without asking String.

// String tells what the List is: how many revocations it holds and whether it is fresh.
func (l List) String() string {
	if l.replica == nil {
		return "revoke.List{}"
	}
	state := "local"
	if !l.cfg.Local {
		s, r, _ := l.proof.Load().state(&l, Now())
		state = s.String()
		if r != ReasonNone {
			state += " (" + r.String() + ")"
		}
	}
	return fmt.Sprintf("revoke.List{%s, %d revocations settled}", state, l.view.Load().base.count())
}

// Format implements [fmt.Formatter]: every verb prints [List.String].
func (l List) Format(f fmt.State, _ rune) { io.WriteString(f, l.String()) }

// LogValue implements [slog.LogValuer].
func (l List) LogValue() slog.Value { return slog.StringValue(l.String()) }

// String tells how many claims p may be revoked by. It names none.
func (p *prepared) String() string {
	if p == nil {
		return "replica.Prepared(nil)"
	}
	return fmt.Sprintf("replica.Prepared{%d keys}", p.keys)
}

// Format implements [fmt.Formatter]: every verb prints [prepared.String].
func (p *prepared) Format(f fmt.State, _ rune) { io.WriteString(f, p.String()) }

// LogValue implements [slog.LogValuer].
func (p *prepared) LogValue() slog.Value { return slog.StringValue(p.String()) }
