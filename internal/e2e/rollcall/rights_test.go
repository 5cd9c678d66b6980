package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// listening starts a server and a replica that listens to questions, by the rights of
// rig.Guarded and what more adds to them. admin is how the user of all rights connects.
func listening(t *testing.T, more func(*server.Permissions)) (br *rig.Broker, admin bus.Config, f *bus.Member, l *revoke.List) {
	t.Helper()
	br = rig.NewBroker(t, func(o *server.Options) {
		rig.Guarded(o)
		for _, u := range o.Users {
			if u.Username == "member" {
				u.Permissions.Subscribe.Allow = append(u.Permissions.Subscribe.Allow, rollcall.Subject)
				more(u.Permissions)
			}
		}
	})
	admin = rig.Dial(t, br.URL(), rig.As("admin")...)
	rig.CreateStream(t, admin, bus.StreamConfig{})
	l = rig.NewList(t, rig.Quick)
	f = rig.Join(t, rig.Dial(t, br.URL(), rig.As("member")...), bus.Config{}, l)
	rig.WaitFresh(t, f)
	rig.Eventually(t, "it listens", func() bool { return f.Status().Announcement.Listening })
	return br, admin, f, l
}

// The least rights that AppliedSubject asks for are enough, also for a wait that asks
// again and again because somebody is missing. The server counts answers by the subject
// of the reply, and, as of 2.15, questions too.
func TestLeastRightsToAnswer(t *testing.T) {
	t.Parallel() // it waits
	for _, most := range []int{3, 4} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel() // it waits
			leastRights(t, most)
		})
	}
}

func leastRights(t *testing.T, most int) {
	_, admin, f, _ := listening(t, func(p *server.Permissions) {
		p.Response = &server.ResponsePermission{MaxMsgs: most, Expires: time.Minute}
	})
	pub := rig.Join(t, admin, bus.Config{}, nil)

	r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "first"}, rollcall.Config{Replicas: 2, MaxStaleness: 8 * time.Second})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || len(r.Replicas) != 1 || !r.Replicas[0].Applied {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it waited for longer than MaxStaleness: %v", err)
	}
	if a := f.Status().Announcement; a.Answered < 4 {
		t.Errorf("it was asked %d times: this shows nothing", a.Answered)
	}
	r, err = rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "second"}, rollcall.Config{Replicas: 1, MaxStaleness: 8 * time.Second})
	if err != nil || len(r.Replicas) != 1 {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	if a := f.Status().Announcement; !a.Listening || a.Err != nil {
		t.Errorf("%+v", a)
	}
}

// A replica that may listen and not answer says so, and is not waited for.
func TestMayListenAndNotAnswer(t *testing.T) {
	t.Parallel()
	_, admin, f, l := listening(t, func(*server.Permissions) {})
	pub := rig.Join(t, admin, bus.Config{}, nil)
	r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "s"}, rollcall.Config{MaxStaleness: time.Second})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || len(r.Replicas) != 0 {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	rig.Eventually(t, "it knows that it is not heard", func() bool {
		a := f.Status().Announcement
		return errors.Is(a.Err, nats.ErrPermissionViolation)
	})
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, rig.Session("s"))
}

// Anyone who may ask and names an inbox to which a replica has no right to answer silences it
// towards that inbox and no other, with rights that name the inboxes one by one. What he
// asks afterwards costs nothing more.
func TestAskerMutesNobodyElse(t *testing.T) {
	t.Parallel()
	br, admin, f, _ := listening(t, func(p *server.Permissions) {
		p.Publish.Allow = append(p.Publish.Allow, "_INBOX.>")
	})
	pub := rig.Join(t, admin, bus.Config{}, nil)
	all := rollcall.Config{Replicas: 1}
	if r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "before"}, all); err != nil {
		t.Fatalf("%v; %+v", err, r)
	}
	evil, _ := rig.Client(t, br.URL(), rig.As("admin")...)
	question := []byte(`{"v":1,"seq":1,"digest":"` + strings.Repeat("0", 64) + `","wait":1000}`)
	ask := func(inbox string) {
		t.Helper()
		if err := evil.PublishRequest(rollcall.Subject, inbox, question); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		inbox := fmt.Sprintf("_INBOX_evil.%d.x", i)
		before := f.Status().Announcement
		ask(inbox)
		rig.Eventually(t, "it is answered", func() bool { return f.Status().Announcement.Answered > before.Answered })
		rig.Eventually(t, "and refused", func() bool { // told once a second
			ask(inbox)
			a := f.Status().Announcement
			return errors.Is(a.Err, nats.ErrPermissionViolation) && a.Dropped > before.Dropped
		})
		if !f.Status().Announcement.Listening {
			t.Fatalf("muted: %+v", f.Status().Announcement)
		}
		if r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "s"}, all); err != nil {
			t.Errorf("%v; %+v", err, r)
		}
	}
}

// A receipt tells of a replica that does not trust the event, and so does not obey it,
// from one that does.
func TestRollCallUntrusted(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	_, public := rig.SigningKey(1)
	strict, lax := rig.NewList(t, rig.Quick), rig.NewList(t, rig.Quick)
	rig.WaitFresh(t,
		rig.Join(t, conn, bus.Config{Name: "strict", Trust: rig.TrustOf(public)}, strict),
		rig.Join(t, conn, bus.Config{Name: "lax"}, lax))
	pub := rig.Join(t, conn, bus.Config{}, nil)
	var r rollcall.Receipt
	rig.AskUntil(t, "both answer in time", func(ctx context.Context) (err error) {
		r, err = rollcall.Revoke(ctx, pub, revoke.Event{Kind: revoke.KindSubject, Value: "u"}, rollcall.Config{})
		if err == nil {
			t.Fatalf("confirmed by one who does not trust it: %+v", r.Replicas)
		}
		if len(r.Replicas) == 2 && !slices.ContainsFunc(r.Replicas, func(x rollcall.Replica) bool { return x.Problem == "no answer" }) {
			return nil
		}
		return fmt.Errorf("%w; %+v", err, r.Replicas)
	})
	id := rig.Session("other")
	id.Subject, id.IssuedAt = "u", time.Now().Add(-time.Minute)
	for name, l := range map[string]*revoke.List{"strict": strict, "lax": lax} {
		x := replicaOf(t, r, name)
		if obeys := rig.Refused(l, id); x.Applied != obeys || obeys != (name == "lax") || (x.Problem == "") != obeys {
			t.Errorf("obeys: %t; %+v", obeys, x)
		}
	}
}

// Anyone who may ask does not make replicas flood an inbox, his own or somebody else's.
func TestAnswersAreRationed(t *testing.T) {
	w := newWaited(t, 1)
	nc, _ := rig.Client(t, w.br.URL())
	f := w.followers[0]
	rig.Eventually(t, "it listens", func() bool { return f.Status().Announcement.Listening })
	began := time.Now()
	const batch, batches = 100, 30
	for n := range batches {
		for range batch {
			if err := nc.PublishRequest(rollcall.Subject, "_INBOX.victim.x", fmt.Appendf(nil, `{"v":1,"seq":1,"digest":"%064x","wait":0}`, 1)); err != nil {
				t.Fatal(err)
			}
		}
		rig.Eventually(t, "all are looked at", func() bool { a := f.Status().Announcement; return a.Answered+a.Dropped >= uint64(batch*(n+1)) })
	}
	most := 500 + 500*time.Since(began).Seconds() // at once, and a second
	if a := f.Status().Announcement; float64(a.Answered) > most+1 || a.Answered < 500 {
		t.Errorf("%+v in %s, at most %.0f", a, time.Since(began), most)
	}
}

// A member that may answer and not ask goes on answering when it has tried to ask over
// the same connection.
func TestMayAnswerAndNotAsk(t *testing.T) {
	t.Parallel()
	_, admin, both, _ := listening(t, func(p *server.Permissions) {
		p.Publish.Allow = append(p.Publish.Allow, bus.Subject(rig.Issuer, revoke.KindSession))
		p.Response = &server.ResponsePermission{MaxMsgs: 3, Expires: time.Minute}
	})
	_, err := rollcall.Revoke(rig.Within(t), both, revoke.Event{Kind: revoke.KindSession, Value: "s"}, rollcall.Config{MaxStaleness: 5 * time.Second})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%v", err)
	}
	// The announcer looks at the connection's errors every second: the second wait is after
	// the first's roll-call.
	pub := rig.Join(t, admin, bus.Config{}, nil)
	for sid := range 2 {
		r, err := rollcall.Revoke(rig.Within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(sid)}, rollcall.Config{RollCall: 2500 * time.Millisecond, MaxStaleness: 5 * time.Second})
		if err != nil || len(r.Replicas) != 1 {
			t.Errorf("%v; %+v", err, r.Replicas)
		}
	}
	if a := both.Status().Announcement; a.Err != nil {
		t.Errorf("%+v", a)
	}
}
