package follow

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// What a server says of a request that has ended is subtracted from what is waited for, and
// nothing else: a negative number, or more than was asked for, must neither have a follower
// ask without end nor make it deaf.
func TestEndedRequestsAreSubtracted(t *testing.T) {
	const much = 3 * pullMessages // so that nothing more is asked for
	for _, c := range []struct {
		messages, bytes           string
		wantMessages, wantMaxSize int
	}{
		{"100", "1000", much - 100, 3*pullBytes - 1000},
		{"0", "0", much, 3 * pullBytes},
		{"-100", "-1000", much, 3 * pullBytes},
		{"100", "", much - 100, 3 * pullBytes},
		{"100", strconv.Itoa(4 * pullBytes), much - 100, 0},
		{strconv.Itoa(2 * much), "1000", 0, 3*pullBytes - 1000},
	} {
		_, s := newTestFollower(t)
		s.wantMessages, s.wantBytes = much, 3*pullBytes
		err := s.status(&nats.Msg{Header: nats.Header{"Status": {"408"}, "Nats-Pending-Messages": {c.messages}, "Nats-Pending-Bytes": {c.bytes}}})
		if err != nil || s.wantMessages != c.wantMessages || s.wantBytes != c.wantMaxSize {
			t.Errorf("%q messages and %q bytes left: waits for %d and %d, want %d and %d; %v", c.messages, c.bytes, s.wantMessages, s.wantBytes, c.wantMessages, c.wantMaxSize, err)
		}
	}
}

// More is asked for when both the messages and the bytes that are on their way leave room:
// what a flood of large messages costs is bounded, and so is what one of small ones does.
func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		l := b.Conn.Link.Load()
		for _, c := range []struct{ messages, bytes, asks int }{
			{0, 0, 2}, {pullMessages, pullBytes, 1}, {pullMessages + 1, 0, 0}, {0, pullBytes + 1, 0}, {pullMessages, 0, 1}, {0, pullBytes, 1},
		} {
			before := s.Count("CONSUMER.MSG")
			sub := &subscription{t: b.Transport, link: l, consumer: "c", inbox: "i", batch: pullMessages, wantMessages: c.messages, wantBytes: c.bytes}
			if err := sub.pull(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if n := s.Count("CONSUMER.MSG") - before; n != c.asks || sub.wantMessages != c.messages+n*pullMessages || sub.wantBytes != c.bytes+n*pullBytes {
				t.Errorf("with %d messages and %d bytes on their way: asked %d times, want %d; then %d and %d", c.messages, c.bytes, n, c.asks, sub.wantMessages, sub.wantBytes)
			}
		}
	})
}

// A subscription that cannot be begun is an error and no subscription.
func TestSubscribeOnAConnectionThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := newScripted(t, config{})
		defer b.end()
		b.NATS().Close()
		if s, err := subscribe(t.Context(), b.Transport, replica.Subscription{}, 1, 0, leastPull); err == nil || s != nil {
			t.Errorf("%v, %v", s, err)
		}
	})
}

// The consumers that were left behind are remembered up to a number, the newest of them.
func TestConsumersLeftBehindAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		f, _ := newTestFollower(t)
		f.t = b.Transport
		var want []string
		for i := range 3 * maxLeft {
			sub, err := b.NATS().SubscribeSync(fmt.Sprint("inbox.", i))
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprint("consumer-", i)
			f.leave(&subscription{t: b.Transport, link: b.Conn.Link.Load(), epoch: b.Conn.Epoch(), sub: sub, consumer: name}) // the server has not said that it was made
			want = append(want, name)
		}
		if want = want[len(want)-maxLeft:]; !slices.Equal(f.left, want) {
			t.Errorf("%q, want %q", f.left, want)
		}
		synctest.Wait()
		before := s.Count("CONSUMER.DELETE")
		f.tidy()
		synctest.Wait()
		if n := s.Count("CONSUMER.DELETE") - before; n != maxLeft {
			t.Errorf("%d are deleted, want %d", n, maxLeft)
		}
	})
}
