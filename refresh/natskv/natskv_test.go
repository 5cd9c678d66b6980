package natskv

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Lives are rounded up, never down, and none overflows the servers' arithmetic.
func TestTTL(t *testing.T) {
	const skew = 5 * time.Minute
	for _, c := range []struct {
		expires  time.Time
		min, max time.Duration
	}{
		{time.Now().Add(time.Hour), time.Hour + skew - time.Second, time.Hour + skew + time.Second},
		{time.Now().Add(time.Hour + time.Millisecond), time.Hour + skew, time.Hour + skew + time.Second},
		{time.Now(), skew, skew + time.Second},
		{time.Now().Add(-time.Hour), skew, skew},
		{time.Time{}, skew, skew},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), maxTTL + skew, maxTTL + skew},
	} {
		w := write{s: &Store{skew: skew}, expires: c.expires}
		got := w.ttl()
		if got < c.min || got > c.max || got%time.Second != 0 {
			t.Errorf("expires %s: TTL %s, want whole seconds between %s and %s", c.expires, got, c.min, c.max)
		}
	}
	if end := time.Now().Add(maxTTL + maxClockSkew).UnixNano(); end < time.Now().UnixNano() {
		t.Error("maxTTL overflows")
	}
}

// What a refusal does not say is taken for the least that it can mean.
func TestLastSequence(t *testing.T) {
	refusal := func(code jetstream.ErrorCode, text string) error {
		return fmt.Errorf("x: %w", &jetstream.APIError{Code: 400, ErrorCode: code, Description: text})
	}
	for _, c := range []struct {
		err  error
		want uint64
	}{
		{refusal(jetstream.JSErrCodeStreamWrongLastSequence, "wrong last sequence: 17"), 17},
		{refusal(jetstream.JSErrCodeStreamWrongLastSequence, "wrong last sequence: 0"), 0},
		{refusal(jetstream.JSErrCodeStreamWrongLastSequence, "wrong last sequence"), 0},
		{refusal(jetstream.JSErrCodeStreamWrongLastSequence, "wrong last sequence: -1"), 0},
		{refusal(jetstream.JSErrCodeStreamWrongLastSequence, "17 is not it"), 0},
		{refusal(jetstream.JSErrCodeStreamWrongLastSequence, ""), 0},
		{refusal(jetstream.JSErrCodeStreamWrongLastSequenceConstant, "wrong last sequence: 17"), 0},
		{errors.New("wrong last sequence: 17"), 0},
	} {
		if got := lastSequence(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	for code, want := range map[jetstream.ErrorCode]bool{10071: true, 10164: true, 10072: false, 0: false} {
		if got := moved(refusal(code, "key exists")); got != want {
			t.Errorf("code %d: %t", code, got)
		}
	}
}
