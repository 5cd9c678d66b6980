package refusals

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A minute is told once, with how many it stands for, and each cause for itself.
func TestOnceAMinute(t *testing.T) {
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	var l Log
	start := time.Unix(60*1000, 0)
	for second := range 180 {
		for range 5 {
			l.Refused(t.Context(), logger, start.Add(time.Duration(second)*time.Second), "refused", "type", errors.New("typ"))
		}
		l.Refused(t.Context(), logger, start.Add(time.Duration(second)*time.Second), "refused", "signature", errors.New("bad"))
	}
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	if len(lines) != 6 || strings.Count(logged.String(), "cause=type error=typ unreported=299") != 2 || strings.Count(logged.String(), "cause=signature error=bad unreported=59") != 2 {
		t.Errorf("%d lines:\n%s", len(lines), &logged)
	}
}

// What happens every day is told where nothing is accepted, and not before a minute of that.
func TestEverydayCauses(t *testing.T) {
	for _, x := range []struct {
		name     string
		accepted func(minute int) bool
		want     int // of ten minutes
	}{
		{"nothing is accepted", func(int) bool { return false }, 9},
		{"something always is", func(int) bool { return true }, 0},
		{"something is until the fifth minute", func(m int) bool { return m < 5 }, 4},
		{"something is from the fifth minute on", func(m int) bool { return m >= 5 }, 5},
	} {
		var logged bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&logged, nil))
		var l Log
		for m := range 10 {
			now := time.Unix(60*int64(1000+m), 0)
			for _, cause := range []string{"expired", "revoked"} {
				l.Refused(t.Context(), logger, now, "refused", cause, errors.New(cause))
			}
			if x.accepted(m) {
				l.Accepted()
			}
		}
		if n := strings.Count(logged.String(), "cause=expired"); n != x.want || strings.Count(logged.String(), "cause=revoked") != n {
			t.Errorf("%s: %d lines, want %d:\n%s", x.name, n, x.want, &logged)
		}
	}
}

// Anyone who finds ever new ways to be refused fills neither the log nor the memory, and hides
// no other cause.
func TestManyDetails(t *testing.T) {
	var logged bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&logged, nil))
	var l Log
	now := time.Unix(60*1000, 0)
	for i := range 10_000 {
		l.Refused(t.Context(), logger, now, "refused", "malformed", fmt.Errorf("byte %d", i))
	}
	l.Refused(t.Context(), logger, now, "refused", "claims", errors.New("sub is missing"))
	if n := strings.Count(logged.String(), "\n"); n > maxLines+2 || len(l.lines) > maxLines+len(causes) {
		t.Errorf("%d lines, %d remembered", n, len(l.lines))
	}
	if !strings.Contains(logged.String(), "sub is missing") {
		t.Error("a cause is hidden")
	}
	if l.Refused(t.Context(), logger, now, "refused", "no such cause", errors.New("x")); strings.Contains(logged.String(), "no such") {
		t.Error("a cause that is not in the table is logged")
	}
}
