package e2e_test

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
	"github.com/hybridtoken/hybridtoken/revoke"
)

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
	br := newBroker(t, func(o *server.Options) {
		guarded(o)
		for _, u := range o.Users {
			if u.Username == "member" {
				u.Permissions.Subscribe.Allow = append(u.Permissions.Subscribe.Allow, rollcall.Subject)
				u.Permissions.Response = &server.ResponsePermission{MaxMsgs: most, Expires: time.Minute}
			}
		}
	})
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{})
	pub := join(t, admin, bus.Config{}, nil)
	l := newList(t, quick)
	f := join(t, dial(t, br.url(), as("member")...), bus.Config{}, l)
	waitFresh(t, f)
	eventually(t, "it listens", func() bool { return f.Status().Announcement.Listening })

	r, err := rollcall.Revoke(within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "first"}, rollcall.Config{Replicas: 2, MaxStaleness: 8 * time.Second})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || len(r.Replicas) != 1 || !r.Replicas[0].Applied {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it waited for longer than MaxStaleness: %v", err)
	}
	if a := f.Status().Announcement; a.Answered < 4 {
		t.Errorf("it was asked %d times: this shows nothing", a.Answered)
	}
	r, err = rollcall.Revoke(within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "second"}, rollcall.Config{Replicas: 1, MaxStaleness: 8 * time.Second})
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
	br := newBroker(t, func(o *server.Options) {
		guarded(o)
		for _, u := range o.Users {
			if u.Username == "member" {
				u.Permissions.Subscribe.Allow = append(u.Permissions.Subscribe.Allow, rollcall.Subject)
			}
		}
	})
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{})
	pub := join(t, admin, bus.Config{}, nil)
	l := newList(t, quick)
	f := join(t, dial(t, br.url(), as("member")...), bus.Config{}, l)
	waitFresh(t, f)
	eventually(t, "it listens", func() bool { return f.Status().Announcement.Listening })
	r, err := rollcall.Revoke(within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "s"}, rollcall.Config{MaxStaleness: time.Second})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || len(r.Replicas) != 0 {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	eventually(t, "it knows that it is not heard", func() bool {
		a := f.Status().Announcement
		return errors.Is(a.Err, nats.ErrPermissionViolation)
	})
	barrier(t, f)
	mustRefuse(t, l, session("s"))
}

// Anyone who may ask and names an inbox to which a replica has no right to answer silences it
// towards that inbox and no other, with rights that name the inboxes one by one. What he
// asks afterwards costs nothing more.
func TestAskerMutesNobodyElse(t *testing.T) {
	t.Parallel()
	br := newBroker(t, func(o *server.Options) {
		guarded(o)
		for _, u := range o.Users {
			if u.Username == "member" {
				u.Permissions.Subscribe.Allow = append(u.Permissions.Subscribe.Allow, rollcall.Subject)
				u.Permissions.Publish.Allow = append(u.Permissions.Publish.Allow, "_INBOX.>")
			}
		}
	})
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{})
	pub := join(t, admin, bus.Config{}, nil)
	l := newList(t, quick)
	f := join(t, dial(t, br.url(), as("member")...), bus.Config{}, l)
	waitFresh(t, f)
	eventually(t, "it listens", func() bool { return f.Status().Announcement.Listening })
	all := rollcall.Config{Replicas: 1}
	if r, err := rollcall.Revoke(within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "before"}, all); err != nil {
		t.Fatalf("%v; %+v", err, r)
	}
	evil, _ := plain(t, br.url(), as("admin")...)
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
		eventually(t, "it is answered", func() bool { return f.Status().Announcement.Answered > before.Answered })
		eventually(t, "and refused", func() bool { // told once a second
			ask(inbox)
			a := f.Status().Announcement
			return errors.Is(a.Err, nats.ErrPermissionViolation) && a.Dropped > before.Dropped
		})
		if !f.Status().Announcement.Listening {
			t.Fatalf("muted: %+v", f.Status().Announcement)
		}
		if r, err := rollcall.Revoke(within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: "s"}, all); err != nil {
			t.Errorf("%v; %+v", err, r)
		}
	}
}

// A receipt tells of a replica that does not trust the event, and so does not obey it,
// from one that does.
func TestRollCallUntrusted(t *testing.T) {
	t.Parallel()
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	_, public := signingKey(1)
	strict, lax := newList(t, quick), newList(t, quick)
	waitFresh(t,
		join(t, conn, bus.Config{Name: "strict", Trust: trustOf(public)}, strict),
		join(t, conn, bus.Config{Name: "lax"}, lax))
	pub := join(t, conn, bus.Config{}, nil)
	var r rollcall.Receipt
	askUntil(t, "both answer in time", func(ctx context.Context) (err error) {
		r, err = rollcall.Revoke(ctx, pub, revoke.Event{Kind: revoke.KindSubject, Value: "u"}, rollcall.Config{})
		if err == nil {
			t.Fatalf("confirmed by one who does not trust it: %+v", r.Replicas)
		}
		if len(r.Replicas) == 2 && !slices.ContainsFunc(r.Replicas, func(x rollcall.Replica) bool { return x.Problem == "no answer" }) {
			return nil
		}
		return fmt.Errorf("%w; %+v", err, r.Replicas)
	})
	id := session("other")
	id.Subject, id.IssuedAt = "u", time.Now().Add(-time.Minute)
	for name, l := range map[string]*revoke.List{"strict": strict, "lax": lax} {
		x := replicaOf(t, r, name)
		if obeys := refused(l, id); x.Applied != obeys || obeys != (name == "lax") || (x.Problem == "") != obeys {
			t.Errorf("obeys: %t; %+v", obeys, x)
		}
	}
}

// Anyone who may ask does not make replicas flood an inbox, his own or somebody else's.
func TestAnswersAreRationed(t *testing.T) {
	w := newWaited(t, 1)
	nc, _ := plain(t, w.br.url())
	f := w.followers[0]
	eventually(t, "it listens", func() bool { return f.Status().Announcement.Listening })
	began := time.Now()
	const batch, batches = 100, 30
	for n := range batches {
		for range batch {
			if err := nc.PublishRequest(rollcall.Subject, "_INBOX.victim.x", fmt.Appendf(nil, `{"v":1,"seq":1,"digest":"%064x","wait":0}`, 1)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all are looked at", func() bool { a := f.Status().Announcement; return a.Answered+a.Dropped >= uint64(batch*(n+1)) })
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
	br := newBroker(t, func(o *server.Options) {
		guarded(o)
		for _, u := range o.Users {
			if u.Username == "member" {
				u.Permissions.Publish.Allow = append(u.Permissions.Publish.Allow, bus.Subject(issuer, revoke.KindSession))
				u.Permissions.Subscribe.Allow = append(u.Permissions.Subscribe.Allow, rollcall.Subject)
				u.Permissions.Response = &server.ResponsePermission{MaxMsgs: 3, Expires: time.Minute}
			}
		}
	})
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{})
	both := join(t, dial(t, br.url(), as("member")...), bus.Config{}, newList(t, quick))
	waitFresh(t, both)
	eventually(t, "it listens", func() bool { return both.Status().Announcement.Listening })
	_, err := rollcall.Revoke(within(t), both, revoke.Event{Kind: revoke.KindSession, Value: "s"}, rollcall.Config{MaxStaleness: 5 * time.Second})
	if !errors.Is(err, rollcall.ErrUnconfirmed) || !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%v", err)
	}
	// The announcer looks at the connection's errors every second: the second wait is after
	// the first's roll-call.
	pub := join(t, admin, bus.Config{}, nil)
	for sid := range 2 {
		r, err := rollcall.Revoke(within(t), pub, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(sid)}, rollcall.Config{RollCall: 2500 * time.Millisecond, MaxStaleness: 5 * time.Second})
		if err != nil || len(r.Replicas) != 1 {
			t.Errorf("%v; %+v", err, r.Replicas)
		}
	}
	if a := both.Status().Announcement; a.Err != nil {
		t.Errorf("%+v", a)
	}
}
