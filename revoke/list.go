package revoke

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A List is a replica of the denylist. Its methods may be called concurrently;
// [List.Check] takes no lock and allocates nothing unless it refuses as stale.
//
// A List has no standing goroutine and needs no Close: a goroutine runs only while
// it merges recent events into the settled base.
type List struct {
	// Behind a pointer, so that a print of what holds a List, which walks its fields for
	// some verbs without asking it, neither shows them nor reads what is being written.
	*replica
}

type replica struct {
	cfg    Config
	layout layout
	hasher *hasher // for good, once NewList has returned; a pointer for the same reason

	// view is what readers look in; the writer replaces it.
	view atomic.Pointer[view]
	// kindUntil is, for each kind, when its last entry expires, in unix seconds. It
	// only grows. A kind whose time is over costs a check nothing. The writer raises
	// it before Apply returns, so a check that begins later sees it.
	kindUntil [kinds]atomic.Uint32
	// prefilters spare a check values that no entry can have. The writer adds an entry's
	// value before the entry is in view.
	prefilters [kinds]prefilter
	// What follows is what a check reads of a token that was found in order before: all in a line
	// or two, which only events and heartbeats write.
	//
	// proof is what the feed has proven. It is stored after the events it speaks of
	// are in view, and a check loads it before it loads view: invariant 1.
	proof atomic.Pointer[proof]
	// streamOffset is the newest stream timestamp less the monotonic clock at its
	// receipt, in nanoseconds; math.MinInt64 until a message came, and math.MaxInt64
	// while there has been no feed: then the local clocks decide alone.
	streamOffset atomic.Int64
	sweepAt      atomic.Int64  // of the base in view
	clearedAt    atomic.Uint32 // unix seconds; see versions
	versions     versions      // of keys; what they count is in view

	// localOffset is the least that the wall clock was seen ahead of the monotonic one, in
	// nanoseconds, but for a second; math.MaxInt64 until one was seen. restoredOffset is
	// what the state file adds to that, for good, once NewList has returned.
	localOffset    atomic.Int64
	restoredOffset int64

	clock atomic.Pointer[clockReading] // nil until heartbeats tell of it

	watches watches // of tokens in use

	issuers   issuers                   // that verifiers name
	retention atomic.Pointer[Retention] // the longest that is known of: ours and the streams'
	everFresh atomic.Bool
	stateFile stateFile
	counters  counters

	mu         sync.Mutex // the writer's: guards compacting, bulk, fed, generation and the content of the last memtable
	compacting bool
	bulk       bool      // a log is being read: compactions are put off
	compacted  sync.Cond // on mu: a compaction ended
	fed        bool      // a feed is open
	gen        uint64

	gathered gathered // by the feed, whose goroutine's alone it is
}

// A view is what one check looks in. The base and all but the last memtable are
// immutable; a key may be in several, and is revoked if it is in any.
type view struct {
	base      *base
	memtables []*memtable
}

// NewList returns an empty List. It fails if cfg could not keep its promises.
func NewList(cfg Config) (*List, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &List{&replica{cfg: cfg, layout: layout{newDensity(cfg.FalsePositiveRate), segmentEntries}, hasher: new(newHasher())}}
	l.compacted.L = &l.mu
	l.view.Store(&view{base: emptyBase, memtables: []*memtable{newMemtable(minMemtable)}})
	l.proof.Store(&proof{reason: ReasonNotFollowed})
	l.streamOffset.Store(math.MaxInt64)
	l.localOffset.Store(math.MaxInt64)
	l.restoredOffset = math.MaxInt64
	l.sweepAt.Store(math.MaxInt64)
	l.issuers.init()
	l.retention.Store(&Retention{TokenLifetime: cfg.TokenLifetime, SessionLifetime: cfg.SessionLifetime, MaxSkew: cfg.MaxSkew})
	l.stateFile.status.Store(&StateFileStatus{})
	if cfg.StateFile != "" {
		l.loadState() // before anybody hashes an identity
	}
	cfg.warn()
	return l, nil
}

// Config returns the configuration with its defaults filled in, and the zero Config of a
// List that NewList did not make.
func (l *List) Config() Config {
	if l.replica == nil {
		return Config{}
	}
	return l.cfg
}

// Retention returns the longest that the List knows of, each: those of its Config and of
// every stream that it has followed. An event that is to outlive all tokens of its
// session or subject names an Until that lies TokenLifetime ahead. It is zero for a List
// that NewList did not make.
func (l *List) Retention() Retention {
	if l.replica == nil {
		return Retention{}
	}
	return *l.retention.Load()
}

// ExpectIssuer tells the List that a verifier accepts tokens of iss. Events for
// other issuers are applied all the same and counted in [Stats], since they
// usually mean a misspelt issuer. Each call is undone by one of [List.ForgetIssuer].
//
// An empty iss says that the verifier's issuers are not known beforehand, as those of the
// tenants of one service: no event counts as foreign any more.
func (l *List) ExpectIssuer(iss string) {
	if iss == "" {
		l.issuers.any.Add(1)
		return
	}
	l.issuers.add(*l.hasher, iss)
}

// ForgetIssuer takes one call of [List.ExpectIssuer] back, of a verifier that is used no
// more. What revokes tokens of iss stays.
func (l *List) ForgetIssuer(iss string) {
	if iss == "" {
		l.issuers.any.Add(-1)
		return
	}
	l.issuers.remove(iss)
}

// ExpectedIssuers returns the issuers that verifiers named by [List.ExpectIssuer], sorted.
// It is empty where nobody named any, and where one named any issuer there may be.
func (l *List) ExpectedIssuers() []string {
	if l.issuers.any.Load() > 0 {
		return []string{}
	}
	return slices.Clone(l.issuers.all())
}

// ValidatePolicy returns an error if p cannot take effect on this List as written:
// a MaxStaleness that is not above the List's own or is above the token lifetime, or an
// AllowYounger not below the token lifetime. Checks under such a policy are those of [Deny].
func (l *List) ValidatePolicy(p Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	switch {
	case p.mode == policyAllowYounger && p.d >= l.cfg.TokenLifetime:
		return fmt.Errorf("revoke: policy %s allows every token: the token lifetime is %s (use InsecureAllow to mean that)", p, l.cfg.TokenLifetime)
	case p.mode == policyMaxStaleness && p.d <= l.cfg.MaxStaleness:
		return fmt.Errorf("revoke: policy %s changes nothing: the List's own MaxStaleness is %s", p, l.cfg.MaxStaleness)
	case p.mode == policyMaxStaleness && p.d > l.cfg.TokenLifetime:
		return fmt.Errorf("revoke: policy %s allows every token: the token lifetime is %s (use InsecureAllow to mean that)", p, l.cfg.TokenLifetime)
	}
	return nil
}

// Apply adds an event to this List alone, as [Event.Complete] makes it. It is how
// a Local List is filled; on a List that a bus feeds it makes an event count here
// before the bus delivers it. When Apply returns nil, every later Check refuses
// what e revokes.
func (l *List) Apply(now Instant, e Event) error {
	e, err := e.Complete(now.Time(), Retention{TokenLifetime: l.cfg.TokenLifetime, SessionLifetime: l.cfg.SessionLifetime, MaxSkew: l.cfg.MaxSkew})
	if err != nil {
		return err
	}
	l.foreign(now, e.Issuer, l.cfg.Logger)
	l.insert(now, &e)
	l.tidy(now)
	return nil
}

// Check reports whether the token id may be accepted. The error is a
// [*RevokedError] (by [errors.As]) for a token that a live event revokes, in whatever state the
// replica is, and a [*StaleError] if the replica cannot vouch for the token under p.
func (l *List) Check(now Instant, id *Identity, p Policy) error {
	r := l.replica           // read once
	proven := r.proof.Load() // before the look-up: see replica.proof
	if k := r.lookup(now, id); k != 0 {
		return refusals[k]
	}
	if r.cfg.Local {
		return nil
	}
	return proven.judge(l, now, id.IssuedAt, p)
}

// lookup returns the kind of a live event that revokes id, or 0.
func (l *replica) lookup(now Instant, id *Identity) Kind {
	eff := l.effective(now)
	if eff >= l.sweepAt.Load() {
		l.sweep(now)
	}
	live := clampSeconds(eff)
	iat := id.cutoffMillis()

	// Hash every key first, then look: the processor overlaps the look-ups' misses.
	hash := l.digests(id.Issuer)
	var ids [kinds]digest
	var asked [kinds]bool
	any := false
	for k := KindToken; k <= KindIssuer; k++ {
		if u := l.kindUntil[k].Load(); u == 0 || u < live {
			continue
		}
		v := id.value(k)
		if v == "" && k != KindIssuer || !l.prefilters[k].mayHave(v) {
			continue
		}
		ids[k] = hash.of(k, v)
		asked[k] = true
		any = true
	}
	if !any {
		return 0
	}
	sid, hasSid := ids[KindSession], asked[KindSession]
	if !hasSid && id.Session != "" && asked[KindSubject] {
		sid, hasSid = hash.of(KindSession, id.Session), true
	}
	v := l.view.Load()
	for k := KindToken; k <= KindIssuer; k++ {
		if !asked[k] {
			continue
		}
		for _, r := range v.memtables {
			if r.revokes(ids[k], live, iat, sid, hasSid) {
				return k
			}
		}
		if v.base.revokes(k, ids[k], live, iat, sid, hasSid) {
			return k
		}
	}
	return 0
}

// effective is the time, in unix seconds, that an entry's Until must not be before
// for it to live, less the grace (invariant 3): by the local clock and by the stream's
// both or, of a List never fed by a bus, by the slower of the local two, so that no one
// reading of one clock forgets anything. A stream that has not spoken yet lets nothing be
// forgotten.
func (l *replica) effective(now Instant) int64 {
	t := now.Wall
	switch off := l.streamOffset.Load(); off {
	case math.MinInt64:
		return math.MinInt64
	case math.MaxInt64:
		t = min(t, now.Mono+min(l.slowest(now), l.restoredOffset))
	default:
		t = min(t, now.Mono+off)
	}
	return t/int64(time.Second) - int64(graceAfterUntil/time.Second)
}

// slowest returns what to add to the monotonic clock for a time that the wall clock,
// since it was first read here, has never been behind by more than a second. A wall clock
// that leaps ahead moves it by nothing, nor does a machine that slept, in which the
// monotonic clock stood still: what is remembered longer than it need be costs memory.
func (l *replica) slowest(now Instant) int64 {
	ahead := now.Wall - now.Mono
	for {
		off := l.localOffset.Load()
		if ahead > off-int64(time.Second) || now.IsZero() { // else the slewing of a clock would have every check write
			return off
		}
		if l.localOffset.CompareAndSwap(off, ahead) {
			return ahead
		}
	}
}
