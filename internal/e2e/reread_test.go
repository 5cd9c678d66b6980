package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// edit changes the stream as an operator's tool would.
func edit(t *testing.T, js jetstream.JetStream, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := theStream(t, js).CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(within(t), c); err != nil {
		t.Fatal(err)
	}
}

// A follower that subscribes to a stream whose metadata was replaced is not fresh, and
// one that followed before no longer is; when the metadata is mended both are, by
// themselves, over the subscriptions that they have.
func TestMendedMetadataHeals(t *testing.T) {
	t.Parallel() // it waits until the stream is read again; what it leaves, TestMain finds
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	_, js := plain(t, br.url())
	cfg := quick
	cfg.MaxStaleness = 5 * time.Second // patience enough for a busy machine: nobody looks for another server
	var log journal
	before := join(t, dial(t, br.url()), bus.Config{Logger: log.logger()}, newList(t, cfg))
	waitFresh(t, before)

	good := theStream(t, js).CachedInfo().Config.Metadata
	edit(t, js, func(c *jetstream.StreamConfig) { c.Metadata = map[string]string{"x": "y"} })
	after := join(t, dial(t, br.url()), bus.Config{}, newList(t, revoke.Config{}))
	for name, f := range map[string]*bus.Member{"followed before": before, "subscribed after": after} {
		eventually(t, name+": bad stream", func() bool {
			s := f.Status()
			return s.Reason == revoke.ReasonBadStream && s.State != revoke.StateFresh && len(s.Hazards) == 1 && strings.Contains(s.Hazards[0], "hybridtoken.schema")
		})
	}
	edit(t, js, func(c *jetstream.StreamConfig) { c.Metadata = good })
	waitFresh(t, before, after)
	for name, f := range map[string]*bus.Member{"followed before": before, "subscribed after": after} {
		if s := f.Status(); s.Subscriptions != 1 || len(s.Hazards) != 0 {
			t.Errorf("%s: %d subscriptions, hazards %q", name, s.Subscriptions, s.Hazards)
		}
	}
	if log.count("could forget revocations") != 1 || log.count("as they should be again") != 1 {
		t.Errorf("want both told once:\n%s", &log)
	}
}

// What an operator changes while a follower lives shows in its status, which observers
// are told of, and disappears when it is taken back: limits, retention that shrinks, a seal.
func TestHazardsAreReadAgain(t *testing.T) {
	t.Parallel() // it waits until the stream is read again; what it leaves, TestMain finds
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{Retention: revoke.Retention{TokenLifetime: 3 * time.Hour}})
	_, js := plain(t, br.url())
	cfg := quick
	cfg.MaxStaleness = time.Second
	f := join(t, dial(t, br.url()), bus.Config{}, newList(t, cfg))
	waitFresh(t, f)
	good := theStream(t, js).CachedInfo().Config
	s := f.Status()
	shows := func(word string) {
		t.Helper()
		shown := func() bool {
			return len(s.Hazards) == 0 && word == "" || word != "" && strings.Contains(strings.Join(s.Hazards, "; "), word)
		}
		for !shown() {
			var err error
			if s, err = f.WaitChange(within(t), s); err != nil {
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
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	_, js := plain(t, br.url())
	b := join(t, dial(t, br.url()), bus.Config{}, nil)
	var acknowledged []revoke.Identity
	publishNext := func() error {
		sid := fmt.Sprint("sid-", len(acknowledged))
		_, err := b.Publish(within(t), revoke.Event{Kind: revoke.KindSession, Value: sid})
		if err == nil {
			acknowledged = append(acknowledged, session(sid))
		}
		return err
	}
	for range 50 {
		if err := publishNext(); err != nil {
			t.Fatal(err)
		}
	}
	good := theStream(t, js).CachedInfo().Config
	edit(t, js, func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Second, time.Second })
	eventually(t, "refused", func() bool {
		err := publishNext()
		if err != nil && !errors.Is(err, bus.ErrStreamUnsafe) {
			t.Fatalf("refused with %v", err)
		}
		return err != nil
	})
	eventually(t, "forgotten", func() bool { return theStream(t, js).CachedInfo().State.Msgs == 0 })
	l := newList(t, quick)
	f := join(t, dial(t, br.url()), bus.Config{}, l)
	waitFresh(t, f)
	if s := f.Status(); len(s.Hazards) == 0 {
		t.Error("the follower shows no hazard")
	}
	edit(t, js, func(c *jetstream.StreamConfig) { *c = good })
	eventually(t, "all is there again", func() bool {
		for _, id := range acknowledged {
			if !refused(l, id) {
				return false
			}
		}
		return true
	})
	eventually(t, "accepted", func() bool { return publishNext() == nil })
	if s := b.Status().Publishing; s.Losses == 0 || s.Republished < uint64(len(acknowledged)-1) || len(s.Unsafe) != 0 {
		t.Errorf("%+v", s)
	}
}
