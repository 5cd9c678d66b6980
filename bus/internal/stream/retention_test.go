package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A stream of the version before says nothing of clocks, which means 2 s; it is the stream
// that CreateStream makes by default, and no other.
func TestMaxSkewOfStreams(t *testing.T) {
	made := func(skew time.Duration) jetstream.StreamConfig {
		c, err := Settings{Retention: revoke.Retention{MaxSkew: skew}}.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	older := made(0)
	delete(older.Metadata, metaMaxSkew)
	if h, err := retention(older.Metadata); err != nil || h.MaxSkew != 2*time.Second {
		t.Errorf("an older stream: %v, %v", h, err)
	}
	if d := Differences(older, made(2*time.Second)); len(d) != 0 {
		t.Errorf("an older stream is the default one, but for %q", d)
	}
	if d := Differences(older, made(10*time.Second)); len(d) != 1 || !strings.Contains(d[0], metaMaxSkew) {
		t.Errorf("an older stream and one for 10 s: %q", d)
	}
	for _, skew := range []time.Duration{time.Millisecond, 500 * time.Millisecond, 10 * time.Second, revoke.MaxSkewLimit} {
		if h, err := retention(made(skew).Metadata); err != nil || h.MaxSkew != skew {
			t.Errorf("made for %s: %v, %v", skew, h, err)
		}
	}
	for _, skew := range []time.Duration{-1, 1, 1500 * time.Microsecond, revoke.MaxSkewLimit + time.Millisecond} {
		if _, err := (Settings{Retention: revoke.Retention{MaxSkew: skew}}).Resolve(); err == nil || !strings.Contains(err.Error(), "Retention.MaxSkew") {
			t.Errorf("%s: %v", skew, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "2s", "120001", "1e3", "99999999999999999999"} {
		c := made(0)
		c.Metadata[metaMaxSkew] = text
		if _, err := retention(c.Metadata); err == nil || !strings.Contains(err.Error(), metaMaxSkew) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What a stream's metadata loses or lowers is a hazard, and publishers go on by the
// largest that they have read; a stream made anew is another stream.
func TestRetentionThatShrink(t *testing.T) {
	var s Fixed
	at := time.Now()
	h := revoke.Retention{TokenLifetime: time.Hour, SessionLifetime: 24 * time.Hour, MaxSkew: 10 * time.Second}
	if got, bad := s.shrunk(at, h); got != h || len(bad) != 0 {
		t.Errorf("%v, %q", got, bad)
	}
	for key, lower := range map[string]func(h *revoke.Retention){
		metaTokenLifetime:   func(h *revoke.Retention) { h.TokenLifetime = time.Minute },
		metaSessionLifetime: func(h *revoke.Retention) { h.SessionLifetime = time.Hour },
		metaMaxSkew:         func(h *revoke.Retention) { h.MaxSkew = 2 * time.Second },
	} {
		less := h
		lower(&less)
		if got, bad := s.shrunk(at, less); got != h || len(bad) != 1 || !strings.Contains(bad[0], key) {
			t.Errorf("%s: %v, %q", key, got, bad)
		}
		if got, bad := s.shrunk(at, h); got != h || len(bad) != 0 {
			t.Errorf("%s, mended: %v, %q", key, got, bad)
		}
	}
	if got, bad := s.shrunk(at, revoke.Retention{}); got != h || len(bad) != 0 {
		t.Errorf("unreadable, which is a hazard by itself: %v, %q", got, bad)
	}
	anew := revoke.DefaultRetention()
	if got, bad := s.shrunk(at.Add(1), anew); got != anew || len(bad) != 0 {
		t.Errorf("made anew: %v, %q", got, bad)
	}
}
