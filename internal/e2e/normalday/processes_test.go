package normalday_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// suspendedEnv has a process of this test follow the server of that URL.
const suspendedEnv = "HYBRIDTOKEN_E2E_SUSPENDED"

// suspended is a service that checks one token all the time and prints what changes,
// and after each pause that its checks show what the first one after it said.
func suspended() {
	ctx := context.Background()
	list, err := revoke.NewList(revoke.Config{MaxSkew: rig.Quick.MaxSkew})
	if err == nil {
		_, err = bus.Join(ctx, bus.Config{Servers: os.Getenv(suspendedEnv), List: list, Name: "suspended"})
	}
	if err != nil {
		fmt.Println("error", err)
		return
	}
	other, meanwhile := rig.Session("other"), rig.Session("meanwhile")
	last, said := revoke.Now(), ""
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		now := revoke.Now()
		err := list.Check(now, &other, revoke.Deny())
		if now.Since(last) > list.Config().MaxStaleness {
			fmt.Println("pause", errors.Is(err, revoke.ErrStale))
		}
		word := "stale"
		switch {
		case errors.Is(list.Check(now, &meanwhile, revoke.Deny()), revoke.ErrRevoked):
			word = "revoked"
		case err == nil:
			word = "fresh"
		}
		if word != said {
			said = word
			fmt.Println(word)
		}
		last = now
	}
}

// "laptop sleep, VM resume → stale until the next heartbeat" and "GC pause or
// throttling → age stays honest": a process that is stopped for longer than
// MaxStaleness refuses with its very first check, and heals by itself. What a clock
// that stands still in suspend would say, TestNormalDayWallClockJumps asks.
func TestNormalDaySuspended(t *testing.T) {
	t.Parallel() // it waits
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 3*rig.Deadline)
	defer cancel()
	service := rig.StartRole(ctx, t, suspendedEnv, br.URL())
	defer service.Kill()
	for service.Next() != "fresh" {
	}
	service.Signal(syscall.SIGSTOP)
	rig.RevokeSession(t, br.URL(), "meanwhile")
	time.Sleep(16 * time.Second) // the fault itself: longer than MaxStaleness
	service.Signal(syscall.SIGCONT)
	line := service.Next()
	for ; !strings.HasPrefix(line, "pause"); line = service.Next() { // what it said before it was stopped
		if line == "revoked" {
			t.Fatal("it was not stopped")
		}
	}
	if line != "pause true" {
		t.Error("the first check after the pause is not stale")
	}
	for line != "revoked" { // having been fresh before it had read of it would be a breach
		if line = service.Next(); line == "fresh" {
			t.Error("fresh again, and the session that was revoked meanwhile passes")
		}
	}
}

// "laptop sleep, VM resume", the other half: the monotonic clock stood still, the
// wall clock has gone on. The check takes its instant as an argument.
func TestNormalDayWallClockJumps(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, revoke.Config{})
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	id := rig.Session("any")
	slept := revoke.Now()
	slept.Wall += int64(time.Hour)
	if err := l.Check(slept, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("after an hour's sleep: %v", err)
	}
	back := revoke.Now() // a wall clock set back hides nothing: the other clock has gone on
	back.Wall -= int64(time.Hour)
	back.Mono += int64(time.Hour)
	if err := l.Check(back, &id, revoke.Deny()); !errors.Is(err, revoke.ErrStale) {
		t.Errorf("an hour later, with the clock set back: %v", err)
	}
	rig.Barrier(t, f) // the next heartbeat
	rig.MustPass(t, l, id)
}
