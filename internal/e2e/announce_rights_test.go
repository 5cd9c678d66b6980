package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The least rights that AppliedSubject asks for are enough, also for a wait that asks
// again and again because somebody is missing. The server counts answers by the subject
// of the reply, and, as of 2.15, questions too.
func TestLeastRightsToAnswer(t *testing.T) {
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
				u.Permissions.Subscribe.Allow = append(u.Permissions.Subscribe.Allow, bus.AppliedSubject)
				u.Permissions.Response = &server.ResponsePermission{MaxMsgs: most, Expires: time.Minute}
			}
		}
	})
	admin := dial(t, br.url(), as("admin")...)
	createStream(t, admin, bus.StreamConfig{})
	pub := open(t, admin, bus.Config{})
	l := newList(t, quick)
	f := follow(t, open(t, dial(t, br.url(), as("member")...), bus.Config{}), l)
	waitFresh(t, f)
	eventually(t, "it listens", func() bool { return f.Announcement().Listening })

	r, err := pub.RevokeAndWait(within(t), revoke.Event{Kind: revoke.Session, Value: "first"}, bus.WaitConfig{Replicas: 2, MaxStaleness: 8 * time.Second})
	if !errors.Is(err, bus.ErrUnconfirmed) || len(r.Replicas) != 1 || !r.Replicas[0].Applied {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	if a := f.Announcement(); a.Answered < 4 {
		t.Errorf("it was asked %d times: this shows nothing", a.Answered)
	}
	r, err = pub.RevokeAndWait(within(t), revoke.Event{Kind: revoke.Session, Value: "second"}, bus.WaitConfig{Replicas: 1, MaxStaleness: 8 * time.Second})
	if err != nil || len(r.Replicas) != 1 {
		t.Errorf("%v; %+v", err, r.Replicas)
	}
	if a := f.Announcement(); !a.Listening || a.Err != nil {
		t.Errorf("%+v", a)
	}
}
