package follow_test

import (
	"context"
	"crypto/ed25519"
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

// falseBeat publishes the heartbeat of a member whose digest differs from everybody's.
func falseBeat(ctx context.Context, js jetstream.JetStream, sequence uint64) error {
	data := fmt.Appendf(nil, `{"v":1,"nonce":"%032x","ts":%d,"digest":{"alg":1,"seq":%d,"count":1,"sum":"%064x"}}`,
		time.Now().UnixNano(), time.Now().UnixMilli(), sequence, 1)
	_, err := js.Publish(ctx, bus.HeartbeatSubject, data, jetstream.WithMsgTTL(15*time.Minute))
	return err
}

// lastBeat returns the sequence of the newest heartbeat.
func lastBeat(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	s, err := js.Stream(ctx, bus.DefaultStream)
	if err != nil {
		return 0, err
	}
	m, err := s.GetLastMsgForSubject(ctx, bus.HeartbeatSubject)
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

// TestLyingDigest: a member that says that the log holds something else takes nothing
// from a member at the origin: it stays fresh, goes on beating, reads the log a second
// time, finds there what it has applied, and does not read it anew.
func TestLyingDigest(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	var log rig.Journal
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Logger: log.Logger()}, l)
	rig.WaitFresh(t, f)
	if _, err := f.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSession, Value: "a"}); err != nil {
		t.Fatal(err)
	}
	_, js := rig.Client(t, br.URL())
	sent := f.Status().Sent
	rig.AskUntil(t, "it is disputed", func(ctx context.Context) error {
		seq, err := lastBeat(ctx, js)
		if err == nil {
			err = falseBeat(ctx, js, seq)
		}
		if err == nil && l.Stats(revoke.Now()).Disputed == 0 {
			err = errors.New("not disputed")
		}
		return err
	})
	rig.Eventually(t, "the log is read a second time", func() bool { // within a minute, at random
		if s := f.Status(); s.State != revoke.StateFresh {
			t.Fatalf("stale by a lie: %+v", s)
		}
		return strings.Contains(log.String(), "the log holds what was applied")
	})
	if s := l.Stats(revoke.Now()); s.Replays != 1 || s.Disputed == 0 {
		t.Errorf("%d replays, %d disputed", s.Replays, s.Disputed)
	}
	rig.AskUntil(t, "it goes on beating", func(ctx context.Context) error {
		seq, err := lastBeat(ctx, js)
		if err == nil {
			err = falseBeat(ctx, js, seq)
		}
		if now := f.Status().Sent; err == nil && now < sent+3 {
			err = fmt.Errorf("%d sent, %d before", now, sent)
		}
		return err
	})
	if n := log.Count("reading it a second time"); n != 1 {
		t.Errorf("%d second readings within a minute", n)
	}
}

// TestUnsignedDigest: where there is a Trust only signed digests count, lies or not.
func TestUnsignedDigest(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	trusting := []ed25519.PublicKey{public}
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: trusting, NoHeartbeats: true}, l)
	signing := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: trusting, Signer: key}, rig.NewList(t, rig.Quick))
	rig.WaitFresh(t, f, signing)
	rig.Eventually(t, "signed digests count", func() bool { return l.Stats(revoke.Now()).Agreed > 0 })

	_, js := rig.Client(t, br.URL())
	unsigned := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, rig.NewList(t, rig.Quick)) // beats without a signature
	rig.WaitFresh(t, unsigned)
	sent := unsigned.Status().Sent
	rig.AskUntil(t, "unsigned ones were sent", func(ctx context.Context) error {
		seq, err := lastBeat(ctx, js)
		if err == nil {
			err = falseBeat(ctx, js, seq)
		}
		if err == nil && unsigned.Status().Sent < sent+3 && l.Stats(revoke.Now()).Agreed < 10 {
			err = fmt.Errorf("%d beats, %d agreed", unsigned.Status().Sent, l.Stats(revoke.Now()).Agreed)
		}
		return err
	})
	if err := f.Barrier(rig.Within(t)); err != nil { // all of them are applied
		t.Fatal(err)
	}
	if s := l.Stats(revoke.Now()); s.Disputed != 0 {
		t.Errorf("%d unsigned digests were heeded", s.Disputed)
	}
}
