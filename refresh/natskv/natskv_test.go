package natskv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// Lives are rounded up, never down, and none overflows the servers' arithmetic.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time stands still
		const skew = 5 * time.Minute
		for _, c := range []struct {
			expires time.Time
			want    time.Duration
		}{
			{time.Now().Add(time.Hour), time.Hour + skew},
			{time.Now().Add(time.Hour + time.Nanosecond), time.Hour + skew + time.Second},
			{time.Now().Add(time.Hour + 999*time.Millisecond), time.Hour + skew + time.Second},
			{time.Now(), skew},
			{time.Now().Add(-time.Hour), skew},
			{time.Time{}, skew},
			{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), maxTTL + skew},
		} {
			w := write{s: &Store{skew: skew}, expires: c.expires}
			if got := w.ttl(); got != c.want {
				t.Errorf("expires %s: TTL %s, want %s", c.expires, got, c.want)
			}
		}
		if end := time.Now().Add(maxTTL + maxClockSkew).UnixNano(); end < time.Now().UnixNano() {
			t.Error("maxTTL overflows")
		}
	})
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

// What CreateBucket makes is safe, and a copy of something else is not. The rest is
// asked of a real server, in internal/e2e/sessions.
func TestHazards(t *testing.T) {
	good, err := BucketConfig{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	if list := hazards(good, defaultBucket); len(list) > 0 {
		t.Errorf("of our own: %q", list)
	}
	if list := jsadmin.Weaknesses(good); len(list) > 0 {
		t.Errorf("weaknesses of our own: %q", list)
	}
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"mirror":      func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "x"} },
		"sources":     func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "x"}} },
		"sealed":      func(c *jetstream.StreamConfig) { c.Sealed = true },
		"transformed": func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"counter":     func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"schedules":   func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true },
	} {
		c := good
		change(&c)
		if list := hazards(c, defaultBucket); len(list) != 1 || !strings.Contains(list[0], want) {
			t.Errorf("want %q: %q", want, list)
		}
	}
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"memory":   func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"replicas": func(c *jetstream.StreamConfig) { c.Replicas = 1 },
		"on disk":  func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
	} {
		c := good
		change(&c)
		if list := jsadmin.Weaknesses(c); len(list) != 1 || !strings.Contains(list[0], want) {
			t.Errorf("want %q: %q", want, list)
		}
	}
}

// What a server's clock shows differs only by what the time that the asking took does not
// explain.
func TestApart(t *testing.T) {
	now := time.Now()
	after := now.Add(2 * time.Second)
	for at, want := range map[time.Duration]time.Duration{
		-time.Hour: time.Hour, 0: 0, time.Second: 0, 2 * time.Second: 0, time.Hour: time.Hour - 2*time.Second,
	} {
		if got := apart(now.Add(at), now, after); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}
