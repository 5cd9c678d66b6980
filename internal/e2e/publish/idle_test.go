package publish_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 9: a publisher that publishes nothing notices that the stream was made
// anew, and gives it back what it lost.
func TestIdlePublisherRecreated(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, nil)
	rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "thief"})
	_, js := rig.Client(t, br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, conn, bus.StreamConfig{})
	late := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, late))
	rig.Eventually(t, "the publisher looks", func() bool { return pub.Status().Publishing.Losses > 0 })
	rig.Eventually(t, "republished", func() bool { return rig.Refused(late, rig.Session("thief")) })
	rig.Eventually(t, "it has heard so", func() bool { return pub.Status().Publishing.Pending == 0 })
	if s := pub.Status().Publishing; s.Losses != 1 || s.Republished != 1 {
		t.Errorf("stats %+v", s)
	}
}

// The same for a disk that was rolled back, by whatever the publisher can know it,
// and whatever was written since.
func TestIdlePublisherRolledBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                        string
		user                        string // "reader" may read messages back, "writer" may not
		grown, publishing, follower bool
		lost                        bool
	}{
		{name: "the sequence tells", user: "writer", lost: true},
		{name: "the message is missed", user: "reader", grown: true, lost: true},
		{name: "a newer one is there", user: "reader", grown: true, publishing: true, lost: true},
		{name: "the own follower's place is gone", user: "writer", grown: true, follower: true, lost: true},
		{name: "good twin: a plain restart", user: "reader", publishing: true, follower: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			br := rig.NewBroker(t, func(o *server.Options) {
				rig.Guarded(o)
				p := *o.Users[2].Permissions // of a member
				p.Publish = &server.SubjectPermission{Allow: append([]string{"revocations.v1.>"}, p.Publish.Allow...)}
				writer := p
				o.Users = append(o.Users, &server.User{Username: "writer", Password: "x", Permissions: &writer})
				p.Publish = &server.SubjectPermission{Allow: append([]string{"$JS.API.STREAM.MSG.GET." + bus.DefaultStream}, p.Publish.Allow...)}
				o.Users = append(o.Users, &server.User{Username: "reader", Password: "x", Permissions: &p})
				for _, u := range o.Users[4:] {
					u.Permissions.Subscribe = &server.SubjectPermission{Allow: []string{"_INBOX_" + u.Username + ".>"}}
				}
			})
			rig.CreateStream(t, rig.Dial(t, br.URL(), rig.As("admin")...), bus.StreamConfig{})
			var own *revoke.List
			if c.follower {
				own = rig.NewList(t, rig.Quick)
			}
			pub := rig.Join(t, rig.Dial(t, br.URL(), rig.As(c.user)...), bus.Config{}, own)
			rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "before"})
			if c.follower {
				rig.WaitFresh(t, pub)
			}
			br.Stop()
			saved := br.CopyDisk()
			br.Start()
			rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "thief"})
			if own != nil {
				rig.Barrier(t, pub)
			}
			br.Stop()
			if c.lost {
				br.Dir = saved
			}
			if c.grown {
				br.Elsewhere(func(url string) {
					_, js := rig.Client(t, url, rig.As("admin")...)
					for i := range 1000 {
						if _, err := js.Publish(rig.Within(t), bus.HeartbeatSubject, fmt.Appendf(nil, `{"v":1,"nonce":"%032x","ts":%d}`, i, time.Now().UnixMilli())); err != nil {
							t.Fatal(err)
						}
					}
				})
			}
			began := time.Now()
			br.Start()
			if c.publishing { // which makes no sequence suspicious
				rig.Publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "other"})
			}
			rig.Eventually(t, "looked at", func() bool {
				return pub.Status().Publishing.Losses > 0 || !c.lost && pub.Status().Publishing.Checked.After(began)
			})
			rig.Eventually(t, "mended", func() bool { s := pub.Status().Publishing; return s.Pending == 0 && (!c.lost || s.Republished >= 2) })
			late := rig.NewList(t, rig.Quick)
			f := rig.Join(t, rig.Dial(t, br.URL(), rig.As("admin")...), bus.Config{}, late)
			rig.WaitFresh(t, f)
			rig.Barrier(t, f)
			rig.MustRefuse(t, late, rig.Session("before"), rig.Session("thief"))
			if n := late.Stats(revoke.Now()).BrokerClock; n != 0 && c.lost && !c.publishing {
				t.Errorf("%d republished events make the broker's clock look wrong", n)
			}
			s := pub.Status().Publishing
			if want := map[bool]uint64{true: 1}[c.lost]; s.Losses != want {
				t.Errorf("stats %+v, want %d losses", s, want)
			}
			weak := func() bool { return strings.Contains(strings.Join(pub.Status().Publishing.Weak, ";"), "read back") }
			if c.user == "reader" && weak() {
				t.Errorf("weaknesses %q", s.Weak)
			}
			if c.user == "writer" && !c.follower {
				rig.Eventually(t, "that it may not read is reported", weak)
			}
		})
	}
}
