package follow_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// edit changes the stream as an operator's tool would.
func edit(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := rig.TheStream(t, js).CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(rig.Within(t), c); err != nil {
		t.Fatal(err)
	}
}

// A follower that subscribes to a stream whose metadata was replaced is not fresh, and
// one that followed before no longer is; when the metadata is mended both are, by
// themselves, over the subscriptions that they have.
func TestMendedMetadataHeals(t *testing.T) {
	t.Parallel() // it waits until the stream is read again; what it leaves, TestMain finds
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	cfg := rig.Quick
	cfg.MaxStaleness = 5 * time.Second // patience enough for a busy machine: nobody looks for another server
	var log rig.Journal
	before := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, rig.NewList(t, cfg))
	rig.WaitFresh(t, before)

	good := rig.TheStream(t, js).CachedInfo().Config.Metadata
	edit(t, js, func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"x": "y"} })
	after := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, revoke.Config{}))
	for name, f := range map[string]*bus.Member{"followed before": before, "subscribed after": after} {
		rig.Eventually(t, name+": bad stream", func() bool {
			s := f.Status()
			return s.Reason == revoke.ReasonBadStream && s.State != revoke.StateFresh && len(s.Hazards) == 1 && strings.Contains(s.Hazards[0], "hybridtoken.schema")
		})
	}
	edit(t, js, func(c *jetstream.StreamConfig) { c.Metadata = good })
	rig.WaitFresh(t, before, after)
	for name, f := range map[string]*bus.Member{"followed before": before, "subscribed after": after} {
		if s := f.Status(); s.Subscriptions != 1 || len(s.Hazards) != 0 {
			t.Errorf("%s: %d subscriptions, hazards %q", name, s.Subscriptions, s.Hazards)
		}
	}
	if log.Count("could forget revocations") != 1 || log.Count("as they should be again") != 1 {
		t.Errorf("want both told once:\n%s", &log)
	}
}

// What an operator changes while a follower lives shows in its status, which observers
// are told of, and disappears when it is taken back: limits, retention that shrinks, a seal.
func TestHazardsAreReadAgain(t *testing.T) {
	t.Parallel() // it waits until the stream is read again; what it leaves, TestMain finds
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{Retention: revoke.Retention{TokenLifetime: 3 * time.Hour}})
	_, js := rig.Client(t, br.URL())
	cfg := rig.Quick
	cfg.MaxStaleness = time.Second
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, cfg))
	rig.WaitFresh(t, f)
	good := rig.TheStream(t, js).CachedInfo().Config
	s := f.Status()
	shows := func(word string) {
		t.Helper()
		shown := func() bool {
			return len(s.Hazards) == 0 && word == "" || word != "" && strings.Contains(strings.Join(s.Hazards, "; "), word)
		}
		for !shown() {
			var err error
			if s, err = f.WaitChange(rig.Within(t), s); err != nil {
				t.Fatalf("waiting for a hazard %q: %v; status %+v", word, err, s)
			}
		}
	}
	for _, c := range []struct {
		word   string
		change func(*jetstream.StreamConfig)
	}{
		{"max age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		// The number of hazards stays the same: observers hear of it all the same.
		{"max messages per subject", func(c *jetstream.StreamConfig) { c.MaxAge, c.MaxMsgsPerSubject = 0, 10_000 }},
		{"", func(c *jetstream.StreamConfig) { *c = good }},
		{"token_lifetime_ms was 10800000 and has shrunk to 7200000", func(c *jetstream.StreamConfig) {
			c.Metadata["hybridtoken.token_lifetime_ms"] = "7200000"
		}},
		{"", func(c *jetstream.StreamConfig) { c.Metadata["hybridtoken.token_lifetime_ms"] = "10800000" }},
		{"sealed", func(c *jetstream.StreamConfig) { c.Sealed = true }},
	} {
		edit(t, js, c.change)
		shows(c.word)
	}
}

// A stream that is edited to forget is refused, and forgets nothing for good: when it is
// mended it is given again what was acknowledged before and in between.
func TestEditedToForget(t *testing.T) {
	t.Parallel() // it waits until the stream has forgotten
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	_, js := rig.Client(t, br.URL())
	b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	var acknowledged []revoke.Identity
	publishNext := func() error {
		sid := fmt.Sprint("sid-", len(acknowledged))
		_, err := b.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: sid})
		if err == nil {
			acknowledged = append(acknowledged, rig.Session(sid))
		}
		return err
	}
	for range 50 {
		if err := publishNext(); err != nil {
			t.Fatal(err)
		}
	}
	good := rig.TheStream(t, js).CachedInfo().Config
	edit(t, js, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Second, time.Second })
	rig.Eventually(t, "refused", func() bool {
		err := publishNext()
		if err != nil && !errors.Is(err, bus.ErrStreamUnsafe) {
			t.Fatalf("refused with %v", err)
		}
		return err != nil
	})
	rig.Eventually(t, "forgotten", func() bool { return rig.TheStream(t, js).CachedInfo().State.Msgs == 0 })
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	if s := f.Status(); len(s.Hazards) == 0 {
		t.Error("the follower shows no hazard")
	}
	edit(t, js, func(c *jetstream.StreamConfig) { *c = good })
	rig.Eventually(t, "all is there again", func() bool {
		for _, id := range acknowledged {
			if !rig.Refused(l, id) {
				return false
			}
		}
		return true
	})
	rig.Eventually(t, "accepted", func() bool { return publishNext() == nil })
	if s := b.Status().Publishing; s.Losses == 0 || s.Republished < uint64(len(acknowledged)-1) || len(s.Unsafe) != 0 {
		t.Errorf("%+v", s)
	}
}
