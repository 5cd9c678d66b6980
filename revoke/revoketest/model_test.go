package revoketest_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

const iss = "https://auth.example.com"

// A model is one random history.
type model struct {
	rng     *rand.Rand
	bus     *revoketest.Bus
	members []*revoketest.Member // those behind the mirror last
	mirrors int
	// Beside a version before digests a process that starts behind a mirror believes it
	// until it has seen one; a log that was rolled back may hold none.
	mixed bool
	ids   []revoke.Identity // tokens asked about
	// Entries are forgotten by the local clock and the stream's both, so only one of
	// the two may be wrong in a history: the members', or else the log server's.
	brokerWrong bool
	// A machine that sleeps counts on its wall clock, so one whose wall clock is set
	// back meanwhile is beyond what any member can notice.
	suspends bool
	start    time.Time
	records  bool // trace and answers
	trace    []string
	did      map[string]int // how often what was done and answered
	answers  bytes.Buffer
	seed     uint64
	prepared map[preparedFor]*replica.Prepared
	wrong    error
}

type preparedFor struct {
	list *revoke.List
	id   revoke.Identity
}

// checkPrepared asks the same of what was prepared when the identity was first asked about.
func (m *model) checkPrepared(r *revoketest.Member, id revoke.Identity, want error) {
	key := preparedFor{r.List(), id}
	p := m.prepared[key]
	if p == nil {
		p = new(replica.Prepare(r.List(), &id))
		m.prepared[key] = p
	}
	got := p.Check(r.List(), r.Now(), revoke.Deny())
	if got == nil && want == nil || m.wrong != nil {
		return
	}
	if got == nil || want == nil || got.Error() != want.Error() {
		m.wrong = fmt.Errorf("prepared %+v: %v, otherwise: %v", id, got, want)
	}
}

func (m *model) note(format string, args ...any) {
	what, _, _ := strings.Cut(format, " %")
	m.did[what]++
	if !m.records {
		return
	}
	m.trace = append(m.trace, m.bus.Now().Sub(m.start).String()+" "+fmt.Sprintf(format, args...))
}

func newModel(seed uint64) (*model, error) {
	m := &model{seed: seed, bus: revoketest.NewBus(revoketest.Config{Seed: seed + 1}), prepared: map[preparedFor]*replica.Prepared{}, did: map[string]int{}}
	m.draw(-1)
	m.start = m.bus.Now()
	m.brokerWrong, m.suspends = m.rng.IntN(2) == 0, m.rng.IntN(2) == 0
	for range 2 + m.rng.IntN(3) {
		r, err := m.bus.Join(revoke.Config{})
		if err != nil {
			return nil, err
		}
		m.members = append(m.members, r)
	}
	// What a server whose clock was set forward holds to be expired, no digest covers.
	if !m.brokerWrong {
		for range 1 + m.rng.IntN(2) {
			r, err := m.bus.JoinMirror(revoke.Config{})
			if err != nil {
				return nil, err
			}
			r.Silence(m.rng.IntN(2) == 0)
			m.members, m.mirrors = append(m.members, r), m.mirrors+1
		}
		if m.rng.IntN(4) == 0 {
			// A version before digests, which goes on beating.
			m.mixed = true
			m.members[1].NoDigest()
		}
	}
	m.bus.Advance(300 * time.Millisecond)
	return m, nil
}

// draw makes step n draw from a source of its own, so that it does the same in a
// history without the others.
func (m *model) draw(n int) { m.rng = rand.New(rand.NewPCG(m.seed, uint64(n+1))) }

func (m *model) value() string { return strconv.Itoa(m.rng.IntN(4)) }

func (m *model) token() revoke.Identity {
	age := time.Duration(m.rng.IntN(3600)) * time.Second
	if m.rng.IntN(2) == 0 {
		age = time.Duration(m.rng.IntN(5000)) * time.Millisecond
	}
	id := revoke.Identity{Issuer: iss, Token: "t" + strconv.Itoa(m.rng.IntN(12)), Session: m.value(), Subject: m.value(),
		Client: m.value(), IssuedAt: m.bus.Now().Add(-age)}
	if m.rng.IntN(4) == 0 { // dated ahead, past an earlier cutoff
		id.MintedAt = m.bus.Now().Add(time.Duration(m.rng.IntN(4001)) * time.Millisecond)
	}
	return id
}

func (m *model) event() revoke.Event {
	e := revoke.Event{Issuer: iss, Kind: []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject, revoke.KindSubject, revoke.KindClient}[m.rng.IntN(5)], Value: m.value()}
	if e.Kind == revoke.KindToken {
		e.Value = "t" + strconv.Itoa(m.rng.IntN(12))
	}
	if e.Kind.Cutoff() && m.rng.IntN(3) > 0 {
		e.Before = m.bus.Now().Add(-time.Duration(m.rng.IntN(3600)) * time.Second)
	}
	if e.Kind == revoke.KindSubject {
		for range m.rng.IntN(3) {
			e.Keep = append(e.Keep, m.value())
		}
	}
	e.Until = m.bus.Now().Add(time.Duration(1+m.rng.IntN(90)) * time.Minute)
	if least := m.bus.Now().Add(revoke.DefaultRetention().TokenLifetime); e.Kind != revoke.KindToken && e.Until.Before(least) {
		e.Until = least // an Until that tokens outlive is refused
	}
	return e
}

// step does one random thing.
func (m *model) step() error {
	r := m.members[m.rng.IntN(len(m.members))]
	who := 0
	for i := range m.members {
		if m.members[i] == r {
			who = i
		}
	}
	switch n := m.rng.IntN(100); {
	case n < 35:
		d := time.Duration(m.rng.IntN(3000)) * time.Millisecond
		m.note("advance %s", d)
		m.bus.Advance(d)
	case n < 38:
		d := time.Duration(10+m.rng.IntN(30)) * time.Second
		m.note("advance %s", d)
		m.bus.Advance(d)
	case n < 65:
		e, err := m.bus.Publish(m.event())
		if err != nil {
			return err
		}
		m.note("publish %s %s before %s keep %q", e.Kind, e.Value, e.Before, e.Keep)
		m.bus.Settle()
	case n < 68:
		m.note("partition %d", who)
		r.Partition()
	case n < 71:
		m.note("isolate %d", who)
		r.Isolate()
	case n < 77:
		m.note("heal %d", who)
		r.Heal()
	case n < 80 && m.suspends:
		m.note("suspend %d", who)
		r.Suspend()
	case n < 84:
		m.note("resume %d", who)
		r.Resume()
	case n < 86:
		d := []time.Duration{-time.Hour, time.Hour, 0, time.Second, -time.Second}[m.rng.IntN(5)]
		switch {
		case m.suspends:
			return nil
		case m.brokerWrong:
			d %= time.Hour
		}
		m.note("skew %d by %s", who, d)
		r.SetSkew(d)
	case n < 88:
		d := time.Duration(m.rng.IntN(6000)) * time.Millisecond
		m.note("delay %d by %s", who, d)
		r.Delay(d)
	case n < 90:
		m.note("drop %d", who)
		r.Drop(1 + m.rng.IntN(2))
	case n < 92:
		m.note("duplicate %d", who)
		r.Duplicate(1 + m.rng.IntN(2))
	case n < 93:
		m.note("reorder %d", who)
		r.Reorder(1)
	case n < 94:
		if !m.brokerWrong {
			return nil
		}
		d := []time.Duration{-time.Hour, time.Hour, 0}[m.rng.IntN(3)]
		m.note("broker skew %s", d)
		m.bus.SetSkew(d)
	case n < 95:
		m.note("server restart")
		m.bus.Restart()
	case n < 96:
		if m.mirrors == 0 {
			return nil
		}
		switch m.rng.IntN(3) {
		case 0:
			m.note("remake mirror")
			m.bus.RemakeMirror()
		case 1:
			m.note("hold mirror")
			m.bus.HoldMirror(true)
		default:
			m.note("let mirror go on")
			m.bus.HoldMirror(false)
		}
	case n < 98:
		n := 1 + m.rng.IntN(20)
		m.note("rollback by %d", n)
		m.bus.Rollback(n)
		for range m.rng.IntN(30) { // perhaps past everybody's position, before anybody is back
			if _, err := m.bus.Publish(m.event()); err != nil {
				return err
			}
		}
	case n < 99:
		m.note("recreate")
		m.bus.Recreate()
		for range m.rng.IntN(30) {
			if _, err := m.bus.Publish(m.event()); err != nil {
				return err
			}
		}
	default:
		if m.mixed && who >= len(m.members)-m.mirrors {
			return nil
		}
		m.note("restart %d", who)
		return r.Restart()
	}
	return nil
}

func (m *model) check() {
	if len(m.ids) < 40 || m.rng.IntN(4) == 0 {
		m.ids = append(m.ids, m.token())
		if len(m.ids) > 40 {
			m.ids = m.ids[1:]
		}
	}
	for _, r := range m.members {
		for range 6 {
			id := m.ids[m.rng.IntN(len(m.ids))]
			err := r.Check(id, revoke.Deny())
			m.checkPrepared(r, id, err)
			switch {
			case err == nil:
				m.did["accepted"]++
			case errors.Is(err, revoke.ErrRevoked):
				m.did["refused"]++
			default:
				m.did["unknown"]++
				if stale, _ := errors.AsType[*revoke.StaleError](err); stale != nil && stale.Reason == revoke.ReasonFork {
					m.did["fork"]++
				}
			}
			if m.records {
				fmt.Fprintf(&m.answers, "%v %v\n", r.Status(), err)
			}
		}
	}
}

// run lives through a history of these steps. Invariants 1 to 5 are held by the bus's
// checker after each; in the end everything is mended, and everybody must be fresh again.
func (m *model) run(steps []int) error {
	for _, n := range steps {
		m.draw(n)
		if err := m.step(); err != nil {
			return err
		}
		m.check()
		if err := errors.Join(m.bus.Violations(), m.wrong); err != nil {
			return err
		}
	}
	m.draw(-2)
	m.note("heal all")
	m.bus.Heal()
	// One member's clock an hour off, either way, silences nobody and stops nobody.
	if !m.brokerWrong && !m.suspends {
		m.members[0].SetSkew([]time.Duration{-time.Hour, time.Hour}[m.rng.IntN(2)])
	}
	for range 40 {
		m.bus.Advance(time.Second)
		m.check()
	}
	for i, r := range m.members {
		if s := r.List().Stats(r.Now()); s.Agreed > 0 && i >= len(m.members)-m.mirrors {
			m.did["agreed behind the mirror"]++
		}
		if s := r.Status(); s.State != revoke.StateFresh {
			return fmt.Errorf("member %d is %s (%s), age %s, 40 s after everything was mended", i, s.State, s.Reason, s.Age)
		}
	}
	return errors.Join(m.bus.Violations(), m.wrong)
}

// TestHistories holds invariants 1, 2, 3, 4 and 5 on random histories of publishing,
// partitions, isolated servers, restarts, rollbacks, recreations, skew, suspends,
// losses, duplicates and disorder in flight. HYBRIDTOKEN_HISTORIES asks for more,
// HYBRIDTOKEN_HISTORIES_FROM for others than those from seed 0 on, and
// HYBRIDTOKEN_HISTORY for one that went wrong, as the failure prints it. ACCOUNT.md has
// what was lived through so far.
func TestHistories(t *testing.T) {
	histories, steps := 1500, 60
	if testing.Short() {
		histories = 200
	}
	if s := os.Getenv("HYBRIDTOKEN_HISTORIES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("HYBRIDTOKEN_HISTORIES: %v", err)
		}
		histories = n
	}
	var from uint64
	if s := os.Getenv("HYBRIDTOKEN_HISTORIES_FROM"); s != "" {
		n, err := strconv.ParseUint(s, 10, 63)
		if err != nil {
			t.Fatalf("HYBRIDTOKEN_HISTORIES_FROM: %v", err)
		}
		from = n
	}
	if s := os.Getenv("HYBRIDTOKEN_HISTORY"); s != "" {
		if _, err := live(parse(t, s)); err != nil {
			t.Errorf("history %s: %v", s, err)
		}
		return
	}
	var (
		next  atomic.Uint64
		mu    sync.Mutex
		first *history // that went wrong, of the lowest seed; guarded by mu
		did   = map[string]int{}
		wg    sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				h := history{from + next.Add(1) - 1, numbers(steps)}
				if h.seed-from >= uint64(histories) {
					return
				}
				m, err := live(h)
				mu.Lock()
				for what, n := range m.did {
					did[what] += n
				}
				if err != nil && (first == nil || h.seed < first.seed) {
					first = &h
				}
				stop := first != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	if first != nil {
		h := shrink(*first)
		m, err := retell(h)
		t.Fatalf("history %d, of which %d steps suffice: %v\n%s\nHYBRIDTOKEN_HISTORY=%s lives through it again", h.seed, len(h.steps), err, strings.Join(m.trace, "\n"), h)
	}
	// What is never done is not shown to be survived.
	for _, what := range []string{"advance", "publish", "partition", "isolate", "heal", "suspend", "resume", "skew", "delay", "drop", "duplicate",
		"reorder", "broker skew", "server restart", "rollback by", "recreate", "restart", "accepted", "refused", "unknown", "agreed behind the mirror"} {
		if did[what] < histories/10 {
			t.Errorf("in %d histories %q came %d times", histories, what, did[what])
		}
	}
	for _, what := range []string{"fork", "remake mirror", "hold mirror", "let mirror go on"} {
		if did[what] < histories/40 {
			t.Errorf("in %d histories %q came %d times", histories, what, did[what])
		}
	}
	t.Logf("forks seen %d times, mirrors remade %d times", did["fork"], did["remake mirror"])
}

// A history is a seed, which gives each of its steps what it does, and which of these
// are done.
type history struct {
	seed  uint64
	steps []int
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// String returns h as HYBRIDTOKEN_HISTORY takes it, such as "17:0,4,59".
func (h history) String() string {
	return fmt.Sprintf("%d:%s", h.seed, strings.ReplaceAll(strings.Trim(fmt.Sprint(h.steps), "[]"), " ", ","))
}

func parse(t *testing.T, s string) (h history) {
	seed, steps, _ := strings.Cut(s, ":")
	var err error
	h.seed, err = strconv.ParseUint(seed, 10, 64)
	for _, n := range strings.Split(steps, ",") {
		step, err2 := strconv.Atoi(n)
		err = errors.Join(err, err2)
		h.steps = append(h.steps, step)
	}
	if err != nil {
		t.Fatalf("HYBRIDTOKEN_HISTORY: %v", err)
	}
	return h
}

func live(h history) (*model, error) { return liveWith(h, false) }

// retell lives through h and keeps a record of what was done and answered.
func retell(h history) (*model, error) { return liveWith(h, true) }

func liveWith(h history, records bool) (*model, error) {
	m, err := newModel(h.seed)
	if err != nil {
		return &model{}, err
	}
	m.records = records
	return m, m.run(h.steps)
}

// shrink leaves out steps, many at a time and then few, as long as something still
// goes wrong.
func shrink(h history) history {
	for size := len(h.steps) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(h.steps); {
			less := history{h.seed, slices.Delete(slices.Clone(h.steps), i, i+size)}
			if _, err := live(less); err != nil {
				h = less
			} else {
				i += size
			}
		}
	}
	return h
}

// A history is lived through again to the letter.
func TestHistoriesRepeat(t *testing.T) {
	for seed := range uint64(20) {
		h := parse(t, history{seed, numbers(60)}.String())
		a, err := retell(h)
		b, err2 := retell(h)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if !slices.Equal(a.trace, b.trace) || !bytes.Equal(a.answers.Bytes(), b.answers.Bytes()) || a.answers.Len() == 0 {
			t.Errorf("history %d went another way", seed)
		}
		other, err := retell(history{seed + 100, h.steps})
		if err != nil || slices.Equal(a.trace, other.trace) {
			t.Errorf("history %d is that of another seed, or %v", seed, err)
		}
	}
}

// TestSlowClocksSilenceNobody: many members whose clocks are an hour slow, and who
// beat for each other, leave the one whose clock is right as fresh as if alone.
func TestSlowClocksSilenceNobody(t *testing.T) {
	b := revoketest.NewBus(revoketest.Config{})
	var right *revoketest.Member
	for i := range 13 {
		m, err := b.Join(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			right = m
			continue
		}
		m.SetSkew(-time.Hour)
	}
	for i := range 1200 {
		b.Advance(time.Second)
		if s := right.Status(); s.State != revoke.StateFresh {
			t.Fatalf("after %d s the one whose clock is right is %s (%s), age %s", i, s.State, s.Reason, s.Age)
		}
	}
}

// TestCheckerNotices: the checker itself must be able to fail.
func TestCheckerNotices(t *testing.T) {
	b := revoketest.NewBus(revoketest.Config{})
	m, err := b.Join(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b.Advance(time.Second)
	id := revoke.Identity{Issuer: iss, Token: "x", IssuedAt: b.Now()}
	if err := m.Check(id, revoke.Deny()); err != nil || b.Violations() != nil {
		t.Fatalf("a good token: %v, %v", err, b.Violations())
	}
	if _, err := b.Publish(revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "x"}); err != nil {
		t.Fatal(err)
	}
	b.Settle()
	if err := m.Check(id, revoke.Deny()); !errors.Is(err, revoke.ErrRevoked) || b.Violations() != nil {
		t.Fatalf("a revoked token: %v, %v", err, b.Violations())
	}
	// Anyone who applies an event behind the bus's back refuses what no event revokes.
	if err := m.List().Apply(m.Now(), revoke.Event{Issuer: iss, Kind: revoke.KindToken, Value: "y"}); err != nil {
		t.Fatal(err)
	}
	id.Token = "y"
	m.Check(id, revoke.Deny())
	if b.Violations() == nil {
		t.Error("a refusal without an event goes unnoticed")
	}
}
