package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// An Acknowledged is the token of an event, and when Publish had returned.
type Acknowledged struct {
	ID       revoke.Identity
	At       time.Time
	Sequence uint64
}

// A Mirrored stream is followed in another account. Its methods are for the test's goroutine.
type Mirrored struct {
	*testing.T
	Operator jetstream.JetStream // of the origin's account
	Mirror   jetstream.JetStream // of the mirror's
	Done     []Acknowledged      // what Publish has published
}

// Publish publishes n events, adds their tokens to Done and returns them.
func (t *Mirrored) Publish(b *bus.Member, name string, n int) []Acknowledged {
	t.Helper()
	var list []revoke.Event
	for i := range n {
		list = append(list, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprintf("%s-%d", name, i)})
	}
	results, err := b.PublishAll(Within(t.T), list)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		t.Done = append(t.Done, Acknowledged{Session(r.Receipt.Event.Value), time.Now(), r.Receipt.Sequence})
	}
	return t.Done[len(t.Done)-n:]
}

// Info is what the server says of the mirror.
func (t *Mirrored) Info(ctx context.Context) (*jetstream.StreamInfo, error) {
	s, err := t.Mirror.Stream(ctx, MirrorStream)
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo()
	if info.Mirror == nil {
		return nil, errors.New("it is no mirror")
	}
	return info, nil
}

// Settled waits until the mirror has everything, and returns its last sequence.
func (t *Mirrored) Settled() (last uint64) {
	t.Helper()
	AskUntil(t.T, "the mirror has everything", func(ctx context.Context) error {
		info, err := t.Info(ctx)
		if err != nil {
			return err
		}
		last = info.State.LastSeq
		s, err := t.Operator.Stream(ctx, bus.DefaultStream)
		if err == nil && s.CachedInfo().State.LastSeq != last {
			err = errors.New("it lags behind")
		}
		return err
	})
	return last
}

// RemakeMirror carries out the commands that docs/oncall.md gives for a mirror whose stream
// was made anew or restored, as user mirror.
func RemakeMirror(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "oncall.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## After the stream was made anew or restored\n")
	section, _, _ = strings.Cut(section, "\n## ")
	done := 0
	for line := range strings.Lines(section) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "nats ")
		if !ok {
			continue
		}
		done++
		words := strings.Fields(command)
		AskUntil(t, line, func(ctx context.Context) error {
			switch {
			case len(words) == 4 && strings.HasPrefix(command, "stream rm ") && words[3] == "--force":
				if err := js.DeleteStream(ctx, words[2]); !errors.Is(err, jetstream.ErrStreamNotFound) {
					return err
				}
				return nil
			case command == "stream add --config mirror.json":
				_, err := js.CreateStream(ctx, ExampleMirror(t, 1))
				return err
			}
			t.Fatalf("what does %q do?", line)
			return nil
		})
	}
	if done != 2 {
		t.Fatalf("docs/oncall.md has %d commands for this", done)
	}
}
