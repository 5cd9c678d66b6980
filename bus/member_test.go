package bus

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
)

// A service that starts before its servers is told so, with what the attempt met, once for
// each time without a connection, and joins all the same.
func TestJoinTellsThatItIsNotConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s := scripted.New(t)
		s.Do(func() { s.Refuses = true })
		m, err := Join(t.Context(), Config{
			Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer}, Logger: log.Logger(),
			Options: []nats.Option{nats.SetCustomDialer(s), nats.SkipHostLookup()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		time.Sleep(time.Minute)
		if n := log.Count("not connected; trying again"); n != 1 || m.Status().Connected {
			t.Errorf("told %d times: %s", n, &log)
		}
		s.Do(func() { s.Refuses = false })
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
		s := scripted.New(t)
		_, err := Join(ctx, Config{
			Servers: "nats://127.0.0.1:4222", Issuers: []string{testIssuer, testIssuer},
			Options: []nats.Option{nats.SetCustomDialer(s), nats.SkipHostLookup()},
		})
		attempts := 0
		s.Do(func() { attempts = len(s.Attempts) })
		if err == nil || errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "twice") || attempts != 0 {
			t.Errorf("%v after %d attempts", err, attempts)
		}
	})
}
