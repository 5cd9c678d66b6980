package follow

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// replayed are n messages of a log as a server delivers them for the consumer "own".
func replayed(tb testing.TB, n int) []*nats.Msg {
	now := time.Now()
	messages := make([]*nats.Msg, n)
	for i := range messages {
		e, err := revoke.Event{ID: fmt.Sprintf("%026d", i), Issuer: testIssuer, Kind: revoke.KindSession, Value: fmt.Sprintf("%022x", uint64(i)*0x9e3779b97f4a7c15), Reason: "logout"}.Complete(now, revoke.DefaultRetention())
		if err != nil {
			tb.Fatal(err)
		}
		data, err := wire.EncodeEvent(&e)
		if err != nil {
			tb.Fatal(err)
		}
		nth := i + 1
		messages[i] = &nats.Msg{
			Sub: &nats.Subscription{}, Subject: wire.Subject(testIssuer, revoke.KindSession), Data: data,
			Header: nats.Header{jetstream.MsgTTLHeader: {"2160h15m"}, jetstream.MsgIDHeader: {e.ID}, jetstream.ExpectedStreamHeader: {stream.DefaultName}},
			Reply:  fmt.Sprintf("$JS.ACK.%s.own.1.%d.%d.%d.%d", stream.DefaultName, nth, nth, now.UnixNano()+int64(i), len(messages)-nth),
		}
	}
	return messages
}

// BenchmarkApply is the way of an event from the client library's hands into the List,
// as during a replay: decoding, checks, and what the List does with it, compaction
// included.
func BenchmarkApply(b *testing.B) {
	messages := replayed(b, 1<<18)
	b.ReportAllocs()
	var f *Follower
	var s *subscription
	i := len(messages)
	for n := 0; n < b.N; {
		if i == len(messages) {
			b.StopTimer()
			f, s = newTestFollower(b)
			s.gen = f.feed.Begin(revoke.Now(), replica.LogInfo{Retention: revoke.DefaultRetention(), LastSequence: uint64(len(messages))}).Generation
			s.msgs = make(chan *nats.Msg, atOnce)
			i = 0
			runtime.GC()
			b.StartTimer()
		}
		s.wantMessages, s.wantBytes = 2*pullMessages, 2*pullBytes
		chunk := messages[i:min(i+atOnce, len(messages))]
		for _, m := range chunk[1:] {
			s.msgs <- m
		}
		if _, _, err := f.take(revoke.Now(), s, chunk[0]); err != nil {
			b.Fatal(err)
		}
		i, n = i+len(chunk), n+len(chunk)
	}
}

// TestChunkAllocates: to decode and apply what looks as most events do takes less than an
// allocation for each, beyond what grows with the List.
func TestChunkAllocates(t *testing.T) {
	const chunks = 100
	messages := replayed(t, (chunks+2)*atOnce)
	f, s := newTestFollower(t)
	s.gen = f.feed.Begin(revoke.Now(), replica.LogInfo{Retention: revoke.DefaultRetention(), LastSequence: uint64(len(messages)) + 1}).Generation
	s.msgs = make(chan *nats.Msg, atOnce)
	i := 0
	n := testing.AllocsPerRun(chunks, func() {
		for _, m := range messages[i+1 : i+atOnce] {
			s.msgs <- m
		}
		s.wantMessages, s.wantBytes = 2*pullMessages, 2*pullBytes
		if _, _, err := f.take(revoke.Now(), s, messages[i]); err != nil {
			t.Fatal(err)
		}
		i += atOnce
	})
	if n > atOnce/4 {
		t.Errorf("%.0f allocations for %d events", n, atOnce)
	}
	if got := f.list.Stats(revoke.Now()).Applied[revoke.KindSession]; got != uint64(i) || f.sequence.Load() != uint64(i) {
		t.Errorf("%d of %d events applied, up to %d", got, i, f.sequence.Load())
	}
}
