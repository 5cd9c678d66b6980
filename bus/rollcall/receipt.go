package rollcall

import (
	"cmp"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Receipt is a [revoke.Receipt] that tells besides who obeys the revocation.
type Receipt struct {
	revoke.Receipt

	// EffectiveBy is the acknowledgement's time plus the largest MaxStaleness: from
	// then on every replica under revoke.Deny refuses what was revoked, or is stale
	// and accepts nothing, whether it answered or not. It is a time of the local
	// clock; others' may differ by MaxSkew.
	EffectiveBy time.Time

	// Replicas are those that applied the event, the quickest first, then the others
	// that are known. It is information, not proof: everybody who may answer in the
	// account may answer falsely. EffectiveBy does not depend on the answers, but that a false
	// one can make it later.
	Replicas []Replica

	// Ignored is how many more replicas answered than are kept count of, which are 10,000;
	// it is 10,000 itself at most.
	Ignored int
}

// A Replica is one [bus.Member] with a List, as it announced itself.
type Replica struct {
	ID      string // random, for the Member's life
	Name    string // its [bus.Config].Name, as it says; unprintable characters are replaced
	Applied bool   // the event

	// Delay is from the acknowledgement to the arrival of the replica's answer, both by
	// the local clock, so never less than the event took. Zero if not Applied.
	Delay time.Duration
	// AppliedAt is when it was applied, by the replica's clock. Zero if not Applied.
	AppliedAt time.Time

	State        revoke.State  // at the time of its last answer
	MaxStaleness time.Duration // as it says
	Problem      string        // why not Applied; empty otherwise
}

// replica returns what is to be said of h, by its id, of an event acknowledged then.
func (h *heard) replica(id string, acknowledged time.Time) Replica {
	r := Replica{ID: id, Name: h.Name, State: h.State, MaxStaleness: h.Staleness}
	switch {
	case h.silent:
		r.Problem = "no answer"
	case h.Outcome == wire.OutcomeApplied:
		r.Applied, r.AppliedAt, r.Delay = true, h.At, max(h.answered.Sub(acknowledged), time.Nanosecond)
	case h.Outcome == wire.OutcomeIgnored:
		r.Problem = "seen, but not understood or not trusted"
	case h.Outcome == wire.OutcomeOther:
		r.Problem = "its log holds another message there"
	case h.Outcome == wire.OutcomePast:
		r.Problem = "its log has passed the message without remembering it"
	default:
		r.Problem = "not applied yet"
	}
	return r
}

// list returns all replicas for the receipt.
func (w *wait) list() []Replica {
	list := make([]Replica, 0, len(w.heard))
	for id, h := range w.heard {
		list = append(list, h.replica(id, w.receipt.Time))
	}
	slices.SortFunc(list, func(x, y Replica) int {
		if x.Applied != y.Applied {
			if x.Applied {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.Delay, y.Delay), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return list
}
