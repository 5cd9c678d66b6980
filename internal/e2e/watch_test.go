package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Invariant 9: a publisher that publishes nothing notices that the stream was made
// anew, and gives it back what it lost.
func TestIdlePublisherRecreated(t *testing.T) {
	t.Parallel() // it waits, mostly
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	pub := join(t, conn, bus.Config{}, nil)
	publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "thief"})
	_, js := plain(t, br.url())
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	createStream(t, conn, bus.StreamConfig{})
	late := newList(t, quick)
	waitFresh(t, join(t, dial(t, br.url()), bus.Config{}, late))
	eventually(t, "the publisher looks", func() bool { return pub.Status().Publishing.Losses > 0 })
	eventually(t, "republished", func() bool { return refused(late, session("thief")) })
	eventually(t, "it has heard so", func() bool { return pub.Status().Publishing.Pending == 0 })
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
			br := newBroker(t, func(o *server.Options) {
				guarded(o)
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
			createStream(t, dial(t, br.url(), as("admin")...), bus.StreamConfig{})
			var own *revoke.List
			if c.follower {
				own = newList(t, quick)
			}
			pub := join(t, dial(t, br.url(), as(c.user)...), bus.Config{}, own)
			publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "before"})
			if c.follower {
				waitFresh(t, pub)
			}
			br.stop()
			saved := br.copyDisk()
			br.start()
			publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "thief"})
			if own != nil {
				barrier(t, pub)
			}
			br.stop()
			if c.lost {
				br.dir = saved
			}
			if c.grown {
				br.elsewhere(func(url string) {
					_, js := plain(t, url, as("admin")...)
					for i := range 1000 {
						if _, err := js.Publish(within(t), bus.HeartbeatSubject, fmt.Appendf(nil, `{"v":1,"nonce":"%032x","ts":%d}`, i, time.Now().UnixMilli())); err != nil {
							t.Fatal(err)
						}
					}
				})
			}
			began := time.Now()
			br.start()
			if c.publishing { // which makes no sequence suspicious
				publish(t, pub, revoke.Event{Kind: revoke.KindSession, Value: "other"})
			}
			eventually(t, "looked at", func() bool {
				return pub.Status().Publishing.Losses > 0 || !c.lost && pub.Status().Publishing.Checked.After(began)
			})
			eventually(t, "mended", func() bool { s := pub.Status().Publishing; return s.Pending == 0 && (!c.lost || s.Republished >= 2) })
			late := newList(t, quick)
			f := join(t, dial(t, br.url(), as("admin")...), bus.Config{}, late)
			waitFresh(t, f)
			barrier(t, f)
			mustRefuse(t, late, session("before"), session("thief"))
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
				eventually(t, "that it may not read is reported", weak)
			}
		})
	}
}
