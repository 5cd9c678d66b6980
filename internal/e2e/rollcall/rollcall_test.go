package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A waited is a publisher and some replicas that announce themselves.
type waited struct {
	br        *rig.Broker
	pub       *bus.Member
	lists     []*revoke.List
	followers []*bus.Member
	staleness time.Duration // of its lists; zero: as in production
}

func newWaited(t *testing.T, replicas int, staleness ...time.Duration) *waited {
	t.Helper()
	w := &waited{br: rig.NewBroker(t, nil)}
	if len(staleness) > 0 {
		w.staleness = staleness[0]
	}
	conn := rig.Dial(t, w.br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	w.pub = rig.Join(t, conn, bus.Config{}, nil)
	for i := range replicas {
		w.add(t, w.br.URL(), fmt.Sprint("replica-", i))
	}
	rig.WaitFresh(t, w.followers...)
	return w
}

func (w *waited) add(t *testing.T, url, name string) (*bus.Member, *revoke.List) {
	t.Helper()
	cfg := rig.Quick
	cfg.MaxStaleness = w.staleness
	l := rig.NewList(t, cfg)
	f := rig.Join(t, rig.Dial(t, url), bus.Config{Name: name}, l)
	w.lists, w.followers = append(w.lists, l), append(w.followers, f)
	return f, l
}

// revoke is a roll call for a session.
func (w *waited) revoke(ctx context.Context, sid string, cfg rollcall.Config) (rollcall.Receipt, error) {
	return rollcall.Revoke(ctx, w.pub, revoke.Event{Kind: revoke.KindSession, Value: sid}, cfg)
}

// revokeUntil has the context end once the event is acknowledged and ok.
func (w *waited) revokeUntil(t *testing.T, sid string, cfg rollcall.Config, ok func() bool) (r rollcall.Receipt, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before := w.pub.Status().Publishing.Acknowledged
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err = w.revoke(ctx, sid, cfg)
	}()
	rig.Eventually(t, "it is acknowledged", func() bool { return w.pub.Status().Publishing.Acknowledged > before && ok() })
	cancel()
	<-done
	return r, err
}

func (w *waited) mustConfirm(t *testing.T, sid string, n int, cfg rollcall.Config) rollcall.Receipt {
	t.Helper()
	r, err := w.revoke(rig.Within(t), sid, cfg)
	if err != nil {
		t.Fatalf("%v; %+v", err, r.Replicas)
	}
	if got := rig.Applied(r); len(got) != n {
		t.Fatalf("confirmed by %d replicas, want %d: %+v", len(got), n, r.Replicas)
	}
	return r
}

func replicaOf(t *testing.T, r rollcall.Receipt, name string) rollcall.Replica {
	t.Helper()
	for _, rep := range r.Replicas {
		if rep.Name == name {
			return rep
		}
	}
	t.Fatalf("the receipt does not name %s: %+v", name, r.Replicas)
	return rollcall.Replica{}
}

func mustBeUnconfirmed(t *testing.T, r rollcall.Receipt, err, cause error) {
	t.Helper()
	if !errors.Is(err, rollcall.ErrUnconfirmed) || cause != nil && !errors.Is(err, cause) || errors.Is(err, bus.ErrNotAcknowledged) {
		t.Fatalf("got %v, want ErrUnconfirmed and %v", err, cause)
	}
	if r.Sequence == 0 || r.ID == "" || r.Event.Value == "" || !r.EffectiveBy.After(r.Time) {
		t.Fatalf("the receipt of an acknowledged event is not filled in: %+v", r)
	}
}

// When it returns nil, every announced replica refuses, and the receipt names each.
func TestRollCall(t *testing.T) {
	t.Parallel()
	w := newWaited(t, 12)
	quiet := rig.Join(t, rig.Dial(t, w.br.URL()), bus.Config{Name: "quiet", NoAnnouncements: true}, rig.NewList(t, rig.Quick))
	rig.WaitFresh(t, quiet)
	for i := range 10 {
		id := rig.Session(fmt.Sprint("s", i))
		r := w.mustConfirm(t, id.Session, len(w.lists), rollcall.Config{})
		for _, l := range w.lists {
			rig.MustRefuse(t, l, id)
		}
		if got := r.EffectiveBy.Sub(r.Time); got != 15*time.Second {
			t.Errorf("effective %s after the acknowledgement, want the default of 15 s", got)
		}
		last := time.Duration(0)
		for _, rep := range r.Replicas {
			if rep.Delay < last || rep.Delay <= 0 || rep.AppliedAt.IsZero() || rep.MaxStaleness != 15*time.Second || rep.State != revoke.StateFresh || rep.Problem != "" || rep.ID == "" {
				t.Errorf("replica %+v", rep)
			}
			last = rep.Delay
		}
	}
	if a := quiet.Status().Announcement; a != (bus.Announcement{}) {
		t.Errorf("answers though it was told not to: %+v", a)
	}
	if a := w.followers[0].Status().Announcement; !a.Listening || a.Answered == 0 || a.Err != nil {
		t.Errorf("announcement %+v", a)
	}

	// A larger MaxStaleness counts, whether it is announced or given.
	cfg := rig.Quick
	cfg.MaxStaleness = time.Minute
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, w.br.URL()), bus.Config{Name: "slow"}, rig.NewList(t, cfg)))
	if r := w.mustConfirm(t, "larger", 13, rollcall.Config{}); r.EffectiveBy.Sub(r.Time) != time.Minute {
		t.Errorf("effective after %s, want the announced minute", r.EffectiveBy.Sub(r.Time))
	}
	if r := w.mustConfirm(t, "given", 13, rollcall.Config{MaxStaleness: time.Hour}); r.EffectiveBy.Sub(r.Time) != time.Hour {
		t.Errorf("effective after %s, want the given hour", r.EffectiveBy.Sub(r.Time))
	}
}

// Many waits at once, each of which means what it says.
func TestRollCallTogether(t *testing.T) {
	w := newWaited(t, 4)
	// From here on all are known, and each wait is for all of them: one that nobody has heard
	// of may answer later than the others, on a machine that is busy.
	w.mustConfirm(t, "before", 4, rollcall.Config{Replicas: 4})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			id := rig.Session(fmt.Sprint("t", i))
			r, err := w.revoke(rig.Within(t), id.Session, rollcall.Config{})
			if err != nil || len(rig.Applied(r)) != 4 {
				t.Errorf("%v; %+v", err, r.Replicas)
				return
			}
			for _, l := range w.lists {
				rig.MustRefuse(t, l, id)
			}
		})
	}
	wg.Wait()
}

// Who is cut off does not confirm, is named, and refuses or is stale by EffectiveBy.
// Invariant 1.
func TestRollCallPartitioned(t *testing.T) {
	t.Parallel() // it waits
	w := newWaited(t, 3, 6*time.Second)
	p := rig.NewProxy(t, w.br.URL())
	far, list := w.add(t, p.URL(), "far")
	rig.WaitFresh(t, far)
	w.mustConfirm(t, "before", 4, rollcall.Config{Replicas: 4}) // all are known from here on

	p.Hang()
	id := rig.Session("cut")
	rig.MustPass(t, list, id)
	r, err := w.revoke(rig.Within(t), id.Session, rollcall.Config{MaxStaleness: 6 * time.Second})
	mustBeUnconfirmed(t, r, err, nil)
	if !strings.Contains(err.Error(), "far") {
		t.Errorf("the error does not name who is missing: %v", err)
	}
	if rep := replicaOf(t, r, "far"); rep.Applied || rep.Problem != "no answer" || rep.Delay != 0 || !rep.AppliedAt.IsZero() {
		t.Errorf("who is cut off: %+v", rep)
	}
	if len(rig.Applied(r)) != 3 || r.Replicas[3].Name != "far" {
		t.Errorf("replicas %+v", r.Replicas)
	}
	rig.Eventually(t, "EffectiveBy", func() bool { return time.Now().After(r.EffectiveBy) })
	if err := rig.Check(list, id); err == nil {
		t.Error("after EffectiveBy a replica that is cut off accepts what was revoked")
	}

	// As many as are needed are enough.
	w.mustConfirm(t, "enough", 3, rollcall.Config{Replicas: 3})
	r, err = w.revokeUntil(t, "more", rollcall.Config{Replicas: 4}, func() bool { return true })
	mustBeUnconfirmed(t, r, err, context.Canceled)

	// It heals.
	p.Resume()
	p.Cut()
	rig.WaitFresh(t, far)
	w.mustConfirm(t, "healed", 4, rollcall.Config{})
	rig.MustRefuse(t, list, id)
}

// Who can answer and not read the log says so; and confirms when it can again, asked by
// the same wait.
func TestRollCallBlind(t *testing.T) {
	w := newWaited(t, 2)
	p := rig.NewProxy(t, w.br.URL())
	far, list := w.add(t, p.URL(), "blind")
	rig.WaitFresh(t, far)
	w.mustConfirm(t, "before", 3, rollcall.Config{Replicas: 3})
	p.Lose(func(subject string) bool { return subject != rollcall.Subject })
	rig.Eventually(t, "it answers that it has not", func() bool { // an answer may be under way when the wait ends
		before := far.Status().Announcement.Answered
		r, err := w.revokeUntil(t, "unseen", rollcall.Config{}, func() bool { return far.Status().Announcement.Answered > before })
		mustBeUnconfirmed(t, r, err, context.Canceled)
		rep := replicaOf(t, r, "blind")
		if rep.Applied || rep.Problem != "not applied yet" && rep.Problem != "no answer" {
			t.Fatalf("who cannot read: %+v", rep)
		}
		return rep.Problem == "not applied yet"
	})
	type result struct {
		r   rollcall.Receipt
		err error
	}
	done := make(chan result, 1)
	ctx := rig.Within(t)
	answered := far.Status().Announcement.Answered
	go func() {
		r, err := w.revoke(ctx, "late", rollcall.Config{})
		done <- result{r, err}
	}()
	rig.Eventually(t, "it is asked", func() bool { return far.Status().Announcement.Answered > answered })
	select {
	case res := <-done:
		t.Fatalf("did not wait: %v %+v", res.err, res.r)
	default:
	}
	p.Lose(nil)
	if res := <-done; res.err != nil || len(rig.Applied(res.r)) != 3 {
		t.Errorf("%v; %+v", res.err, res.r.Replicas)
	}
	rig.MustRefuse(t, list, rig.Session("late"))
}

// A sequence confirms nothing: the log may be another. Nor does it take the publisher's
// noticing. Once it has noticed, and published again, the same wait ends well.
func TestRollCallRecreated(t *testing.T) {
	t.Parallel()
	w := newWaited(t, 0)
	p := rig.NewProxy(t, w.br.URL())
	far, list := w.add(t, p.URL(), "other-log")
	rig.WaitFresh(t, far)
	w.mustConfirm(t, "before", 1, rollcall.Config{})
	p.Hang()
	ctx := rig.Within(t)
	type result struct {
		r   rollcall.Receipt
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := w.revoke(ctx, "lost", rollcall.Config{})
		done <- result{r, err}
	}()
	last := rig.LastSequence(t, w.br.URL())
	rig.Eventually(t, "it is stored", func() bool { return w.pub.Status().Publishing.Acknowledged == 2 })
	_, js := rig.Client(t, w.br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, rig.Dial(t, w.br.URL()), bus.StreamConfig{})
	began := time.Now()
	for i := range last + 20 { // past the place where it was
		rig.RevokeSession(t, w.br.URL(), fmt.Sprint("other-", i))
	}
	p.Resume()
	p.Cut()
	rig.WaitFresh(t, far)
	rig.Barrier(t, far)
	answered := far.Status().Announcement.Answered
	rig.Eventually(t, "it is asked on the other log", func() bool { return far.Status().Announcement.Answered > answered+1 })
	select {
	case res := <-done:
		t.Fatalf("confirmed by sequence: %v %+v", res.err, res.r)
	default:
	}
	rig.MustPass(t, list, rig.Session("lost"))
	// The next acknowledgement shows the loss.
	for i := 0; w.pub.Status().Publishing.Losses == 0; i++ {
		if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
			t.Fatal(err)
		}
		rig.CreateStream(t, rig.Dial(t, w.br.URL()), bus.StreamConfig{})
		rig.Publish(t, w.pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("shows-", i)})
	}
	res := <-done
	if res.err != nil || len(rig.Applied(res.r)) != 1 {
		t.Fatalf("%v; %+v", res.err, res.r.Replicas)
	}
	rig.MustRefuse(t, list, rig.Session("lost"))
	// The receipt is of the acknowledgement that counts.
	stream := rig.TheStream(t, js)
	if m, err := stream.GetMsg(rig.Within(t), res.r.Sequence); err != nil || !strings.Contains(string(m.Data), `"value":"lost"`) {
		t.Errorf("at the receipt's place: %v, %v", m, err)
	}
	if !res.r.Time.After(began) || !res.r.EffectiveBy.After(began.Add(15*time.Second)) {
		t.Errorf("acknowledged %s, effective by %s; the stream was made anew %s", res.r.Time, res.r.EffectiveBy, began)
	}
}

// Nobody there, the caller gone, nothing stored: three different answers.
func TestRollCallFailures(t *testing.T) {
	t.Parallel()
	w := newWaited(t, 0)
	l := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, w.br.URL()), bus.Config{NoAnnouncements: true}, l))
	r, err := w.revoke(rig.Within(t), "nobody", rollcall.Config{})
	mustBeUnconfirmed(t, r, err, nil)
	if len(r.Replicas) != 0 || !strings.Contains(err.Error(), "no replica announces itself") {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	rig.Eventually(t, "revoked all the same", func() bool { return rig.Refused(l, rig.Session("nobody")) })

	r, err = w.revokeUntil(t, "gone", rollcall.Config{Replicas: 1}, func() bool { return true })
	mustBeUnconfirmed(t, r, err, context.Canceled)

	for _, cfg := range []rollcall.Config{{Replicas: -1}, {Replicas: 10_001}, {RollCall: -1}, {RollCall: time.Hour}, {MaxStaleness: -1}} {
		if r, err := w.revoke(rig.Within(t), "refused", cfg); err == nil || r.Sequence != 0 || errors.Is(err, rollcall.ErrUnconfirmed) {
			t.Errorf("%+v: %v %+v", cfg, err, r)
		}
	}
	if r, err := rollcall.Revoke(rig.Within(t), w.pub, revoke.Event{Kind: revoke.KindSession, Issuer: rig.Issuer + "/", Value: "x"}, rollcall.Config{}); !errors.Is(err, revoke.ErrInvalidEvent) || r.Sequence != 0 {
		t.Errorf("an issuer that is not ours: %v %+v", err, r)
	}
	_, js := rig.Client(t, w.br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	short, cancel2 := context.WithTimeout(t.Context(), time.Second)
	defer cancel2()
	if r, err := w.revoke(short, "not stored", rollcall.Config{}); err == nil || errors.Is(err, rollcall.ErrUnconfirmed) || r.Sequence != 0 {
		t.Errorf("not stored: %v %+v", err, r)
	}
	w.pub.Close()
	if _, err := w.revoke(rig.Within(t), "closed", rollcall.Config{}); !errors.Is(err, bus.ErrClosed) || errors.Is(err, rollcall.ErrUnconfirmed) {
		t.Errorf("closed: %v", err)
	}
}

// A connection whose inboxes look like no inbox is told so, after the event is stored.
func TestRollCallForeignInbox(t *testing.T) {
	w := newWaited(t, 1)
	b := rig.Join(t, rig.Dial(t, w.br.URL(), nats.CustomInboxPrefix("replies")), bus.Config{}, nil)
	r, err := rollcall.Revoke(rig.Within(t), b, revoke.Event{Kind: revoke.KindSession, Value: "x"}, rollcall.Config{})
	mustBeUnconfirmed(t, r, err, nil)
	if !strings.Contains(err.Error(), "_INBOX") {
		t.Error(err)
	}
	rig.Barrier(t, w.followers[0])
	rig.MustRefuse(t, w.lists[0], rig.Session("x"))
	own := rig.Join(t, rig.Dial(t, w.br.URL(), nats.CustomInboxPrefix("_INBOX_auth")), bus.Config{}, nil)
	if r, err := rollcall.Revoke(rig.Within(t), own, revoke.Event{Kind: revoke.KindSession, Value: "y"}, rollcall.Config{}); err != nil || len(rig.Applied(r)) != 1 {
		t.Errorf("a prefix of its own: %v %+v", err, r)
	}
}

// A replica that is closed is not waited for any more; one that died is, for a while.
func TestRollCallFarewell(t *testing.T) {
	t.Parallel()
	w := newWaited(t, 3)
	w.mustConfirm(t, "a", 3, rollcall.Config{Replicas: 3}) // however long the first answers take
	w.followers[0].Close()
	w.mustConfirm(t, "b", 2, rollcall.Config{})
	// A new one is found by itself.
	f, _ := w.add(t, w.br.URL(), "new")
	rig.WaitFresh(t, f)
	w.mustConfirm(t, "c", 3, rollcall.Config{RollCall: 3 * time.Second})
}

// Answers are information: a lie about one's own state is believed, yet it neither
// speaks for another nor brings EffectiveBy forward, and no name reaches a screen that
// hides something.
func TestRollCallLiar(t *testing.T) {
	w := newWaited(t, 2)
	nc, _ := rig.Client(t, w.br.URL())
	if _, err := nc.Subscribe(rollcall.Subject, func(m *nats.Msg) {
		for _, s := range []string{
			`{"v":1,"id":"LIAR","name":"liar\u001b[2J\u202e","outcome":"applied","at":1767225600000,"state":"fresh","staleness":0}`,
			`{"v":1,"id":"LONG","name":"` + strings.Repeat("ü", 500) + `","outcome":"applied","at":1767225600000,"state":"fresh","staleness":1}`,
			`{"v":1,"id":"a.b","name":"id","outcome":"applied","at":1767225600000,"state":"fresh","staleness":0}`,
			`{"v":1,"id":"WRONG","name":"outcome","outcome":"done","at":1767225600000,"state":"fresh","staleness":0}`,
			`{"v":2,"id":"NEWER","name":"version","outcome":"applied","at":1767225600000,"state":"fresh","staleness":0}`,
			`{"v":1,"id":"NEVER","name":"no time","outcome":"applied","state":"fresh","staleness":0}`,
			`{"v":1,"id":"HUGE","name":"staleness","outcome":"applied","at":1767225600000,"state":"fresh","staleness":9223372036854775807}`,
			`not JSON`, ``,
		} {
			_ = m.Respond([]byte(s))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil {
		t.Fatal(err)
	}
	r := w.mustConfirm(t, "lie", 4, rollcall.Config{})
	for _, rep := range r.Replicas {
		if len(rep.Name) > 128 || strings.ContainsFunc(rep.Name, func(c rune) bool { return !unicode.IsPrint(c) }) {
			t.Errorf("name %q", rep.Name)
		}
	}
	if r.EffectiveBy.Sub(r.Time) != 15*time.Second {
		t.Errorf("effective after %s", r.EffectiveBy.Sub(r.Time))
	}
}

// A flood of answers costs bounded memory, and revokes nothing less.
func TestRollCallAnswerFlood(t *testing.T) {
	t.Parallel()
	w := newWaited(t, 1)
	nc, _ := rig.Client(t, w.br.URL())
	if _, err := nc.Subscribe(rollcall.Subject, func(m *nats.Msg) {
		for i := range 12_000 {
			_ = m.Respond(fmt.Appendf(nil, `{"v":1,"id":"F%d","name":"flood","outcome":"waiting","state":"fresh","staleness":0}`, i))
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(rig.Within(t)); err != nil {
		t.Fatal(err)
	}
	r, err := w.revoke(rig.Within(t), "flooded", rollcall.Config{MaxStaleness: 4 * time.Second})
	mustBeUnconfirmed(t, r, err, nil)
	if len(r.Replicas) > 10_000 || len(r.Replicas) < 1000 || len(err.Error()) > 1000 {
		t.Errorf("%d replicas, %d ignored, error of %d bytes", len(r.Replicas), r.Ignored, len(err.Error()))
	}
	rig.Barrier(t, w.followers[0])
	rig.MustRefuse(t, w.lists[0], rig.Session("flooded"))
}

// A flood of questions is dropped, delays nothing, and is over when it is over.
func TestRollCallQuestionFlood(t *testing.T) {
	t.Parallel()
	w := newWaited(t, 1)
	nc, _ := rig.Client(t, w.br.URL())
	f := w.followers[0]
	for i := range 3000 {
		q := fmt.Appendf(nil, `{"v":1,"seq":%d,"digest":"%064x","wait":30000}`, 1_000_000+i, i)
		if err := nc.PublishRequest(rollcall.Subject, "_INBOX.victim.x", q); err != nil {
			t.Fatal(err)
		}
	}
	rig.Eventually(t, "some are dropped", func() bool { return f.Status().Announcement.Dropped > 0 })
	rig.Barrier(t, f)
	w.mustConfirm(t, "after", 1, rollcall.Config{})
}

// Replicas never answer into the stream, no matter who asks them to, with whatever rights
// they have themselves. The micro service framework does, which is why it is not used.
func TestAnswersStayOutOfTheStream(t *testing.T) {
	w := newWaited(t, 1)
	nc, js := rig.Client(t, w.br.URL())
	subject := bus.Subject(rig.Issuer, revoke.KindSession)
	f := w.followers[0]
	for _, reply := range []string{subject, bus.HeartbeatSubject, "$JS.API.STREAM.DELETE." + bus.DefaultStream, "_INBOX"} {
		if err := nc.PublishRequest(rollcall.Subject, reply, fmt.Appendf(nil, `{"v":1,"seq":1,"digest":"%064x","wait":1000}`, 1)); err != nil {
			t.Fatal(err)
		}
	}
	want := uint64(4)
	if w.br.Behaviour().RefusesAPIReplies { // that one is not even delivered
		want--
	}
	rig.Eventually(t, "all are refused", func() bool { return f.Status().Announcement.Dropped >= want })
	w.mustConfirm(t, "after them", 1, rollcall.Config{}) // whatever was asked before has been looked at
	if a := f.Status().Announcement; a.Dropped != want || a.Answered == 0 {
		t.Errorf("nats-server %s: %+v, want %d questions dropped", w.br.Version, a, want)
	}
	if n := rig.Stored(t, js, subject); n != 1 { // the event itself
		t.Errorf("%d answers in the stream", n-1)
	}
	rig.Barrier(t, f)
	if s := w.lists[0].Stats(revoke.Now()); len(s.Faults) != 0 {
		t.Errorf("faults %v", s.Faults)
	}

	svc, err := micro.AddService(nc, micro.Config{Name: "replica", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Stop()
	if err := nc.FlushWithContext(rig.Within(t)); err != nil { // it listens before it is asked, over another connection
		t.Fatal(err)
	}
	asker, _ := rig.Client(t, w.br.URL())
	if err := asker.PublishRequest("$SRV.PING", subject, nil); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, "the framework's answer is in the stream (if it is not, reconsider it)", func() bool { return rig.Stored(t, js, subject) == 2 })
	rig.Eventually(t, "it counts as a fault", func() bool { return w.lists[0].Stats(revoke.Now()).Faults[revoke.FaultMalformed] == 1 })
}

// Without the rights to announce themselves verifiers follow as before, and say so.
func TestAnnouncingNotPermitted(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, rig.Guarded)
	admin := rig.Dial(t, br.URL(), rig.As("admin")...)
	rig.CreateStream(t, admin, bus.StreamConfig{})
	pub := rig.Join(t, admin, bus.Config{}, nil)
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL(), rig.As("member")...), bus.Config{Name: "mute"}, l)
	rig.WaitFresh(t, f)
	rig.Eventually(t, "it is known", func() bool {
		a := f.Status().Announcement
		return a.Err != nil && !a.Listening && errors.Is(a.Err, nats.ErrPermissionViolation)
	})
	heard := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, admin, bus.Config{Name: "heard"}, heard))
	r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "x"}, rollcall.Config{})
	if err != nil || len(r.Replicas) != 1 || r.Replicas[0].Name != "heard" {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	rig.MustRefuse(t, heard, rig.Session("x"))
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, rig.Session("x"))
	if s := f.Status(); s.State != revoke.StateFresh || s.Err != nil || s.Subscriptions != 1 {
		t.Errorf("status %+v", s)
	}
}
