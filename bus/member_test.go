package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
)

// A service that starts before its servers is told so, with what the attempt met, once for
// each time without a connection, and joins all the same.
func TestJoinTellsThatItIsNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log pages
		s := newStream(t)
		s.do(func() { s.refuses = true })
		m, err := Join(t.Context(), Config{
			Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer}, Logger: log.logger(),
			Options: []nats.Option{nats.SetCustomDialer(s), nats.SkipHostLookup()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		time.Sleep(time.Minute)
		if n := log.count("not connected; trying again"); n != 1 || m.Status().Connected {
			t.Errorf("told %d times: %s", n, &log)
		}
		s.do(func() { s.refuses = false })
		time.Sleep(time.Minute)
		if !m.Status().Connected {
			t.Errorf("not connected: %s", &log)
		}
	})
}

// What is wrong with a Config is said without waiting for a server that says nothing.
func TestJoinJudgesBeforeItDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := newStream(t)
		_, err := Join(ctx, Config{
			Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer, testIssuer},
			Options: []nats.Option{nats.SetCustomDialer(s), nats.SkipHostLookup()},
		})
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "twice") || len(s.attempts) != 0 {
			t.Errorf("%v after %d attempts", err, len(s.attempts))
		}
	})
}
