package follow

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// BenchmarkApply is the way of an event from the client library's hands into the List,
// as during a replay: decoding, checks, and what the List does with it, compaction
// included.
func BenchmarkApply(b *testing.B) {
	now := time.Now()
	messages := make([]*nats.Msg, 1<<18)
	for i := range messages {
		e, err := revoke.Event{ID: fmt.Sprintf("%026d", i), Issuer: testIssuer, Kind: revoke.KindSession, Value: fmt.Sprintf("%022x", uint64(i)*0x9e3779b97f4a7c15), Reason: "logout"}.Complete(now, revoke.DefaultRetention())
		if err != nil {
			b.Fatal(err)
		}
		data, err := wire.EncodeEvent(&e)
		if err != nil {
			b.Fatal(err)
		}
		n := i + 1
		messages[i] = &nats.Msg{
			Sub: &nats.Subscription{}, Subject: wire.Subject(testIssuer, revoke.KindSession), Data: data,
			Reply: fmt.Sprintf("$JS.ACK.%s.own.1.%d.%d.%d.%d", stream.DefaultName, n, n, now.UnixNano()+int64(i), len(messages)-n),
		}
	}
	b.ReportAllocs()
	var f *Follower
	var s *subscription
	i := len(messages)
	for b.Loop() {
		if i == len(messages) {
			b.StopTimer()
			f, s = newTestFollower(b)
			i = 0
			b.StartTimer()
		}
		s.wantMessages, s.wantBytes = 2*pullMessages, 2*pullBytes
		if _, err := f.apply(revoke.Now(), s, messages[i]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
