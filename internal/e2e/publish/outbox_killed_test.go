package publish_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// authorEnv has a process of this test publish over an outbox: to the server of that URL,
// with the file and under the name that follow, each after a space.
const authorEnv = "HYBRIDTOKEN_E2E_AUTHOR"

// author publishes sessions and, one in ten, cutoffs of subjects, several at a time, until
// it is killed. Of each that Publish has answered for it prints a line: acked or kept, the
// kind, what is revoked, and the cutoff's Before.
func author() {
	words := strings.Fields(os.Getenv(authorEnv))
	url, file, name := words[0], words[1], words[2]
	b, err := bus.Join(context.Background(), bus.Config{
		Servers: url, Options: []nats.Option{nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(time.Millisecond, time.Millisecond)},
		Issuers: []string{rig.Issuer}, OutboxFile: file,
	})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	var n atomic.Int64
	var out sync.Mutex
	for range 8 {
		go func() {
			for {
				i := n.Add(1)
				e := revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(name, "-", i), Before: time.Time{}}
				if i%10 == 0 {
					e.Kind, e.Before = revoke.KindSubject, time.Now().Truncate(time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(20+rand.IntN(200))*time.Millisecond)
				_, err := b.Publish(ctx, e)
				cancel()
				word := "acked"
				switch {
				case errors.Is(err, bus.ErrKept):
					word = "kept"
				case err != nil:
					continue // nobody has promised anything
				}
				out.Lock()
				fmt.Println(word, e.Kind, e.Value, e.Before.UnixMilli()) // one write
				out.Unlock()
			}
		}()
	}
	select {}
}

// A promise is an event that a publisher has answered for.
type promise struct {
	kind   string
	value  string
	before time.Time
}

// identities returns tokens that the event must refuse, and one that it must let pass.
func (p promise) identities() (refused, passes revoke.Identity) {
	refused, passes = rig.Session(p.value), rig.Session(p.value+"-other")
	if p.kind == revoke.KindSubject.String() {
		refused, passes = rig.Session("of "+p.value), rig.Session("after "+p.value)
		refused.Subject, refused.IssuedAt = p.value, p.before
		passes.Subject, passes.IssuedAt = p.value, p.before.Add(time.Millisecond)
	}
	return refused, passes
}

// A publisher that is killed again and again, beside a server that comes and goes, loses
// nothing that it has answered for, be it acknowledged or merely kept (invariants 1 and
// 9), and what it publishes twice is no more than what it published: no cutoff moves
// (invariants 4 and 5).
func TestOutboxKilled(t *testing.T) {
	t.Parallel() // it waits, mostly
	const rounds = 30
	rng := rand.New(rand.NewPCG(20261123, 1))
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, l)
	rig.WaitFresh(t, f)
	file := filepath.Join(t.TempDir(), "outbox")

	var promises []promise
	acked, kept := 0, 0
	for round := range rounds {
		down := br.Server == nil
		publisher := rig.StartRole(t.Context(), t, authorEnv, fmt.Sprintf("%s %s r%d", br.URL(), file, round))
		lines := make(chan string, 1<<16)
		go func() {
			defer close(lines)
			for {
				line, ok := publisher.Scan()
				if !ok {
					return
				}
				lines <- line
			}
		}()
		// Every third starts without a server, works when there is one, mostly loses it
		// again, and is killed after a while that has nothing to do with what it does.
		if down {
			pause(t, time.Duration(rng.IntN(200))*time.Millisecond)
			br.Start()
		}
		take := func(line string) {
			words := strings.Fields(line)
			if len(words) != 4 {
				t.Fatalf("round %d: %q", round, line)
			}
			ms, err := strconv.ParseInt(words[3], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			promises = append(promises, promise{words[1], words[2], time.UnixMilli(ms)})
			if words[0] == "kept" {
				kept++
			} else {
				acked++
			}
		}
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("round %d: the publisher has ended", round)
			}
			take(line)
		case <-rig.Within(t).Done():
			t.Fatalf("round %d: nothing was published", round)
		}
		pause(t, time.Duration(rng.IntN(150))*time.Millisecond)
		if round%3 != 0 {
			br.Stop()
			pause(t, time.Duration(rng.IntN(300))*time.Millisecond)
		}
		if round%3 == 1 {
			br.Start()
			pause(t, time.Duration(rng.IntN(100))*time.Millisecond)
		}
		publisher.Signal(os.Kill)
		for line := range lines { // until the pipe is empty
			take(line)
		}
		publisher.Kill() // which it was
	}
	if br.Server == nil {
		br.Start()
	}
	waiting := 0
	for _, p := range promises {
		if id, _ := p.identities(); !rig.Refused(l, id) {
			waiting++
		}
	}
	last := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{OutboxFile: file}, nil)
	rig.Eventually(t, "all that was kept is published", func() bool { return last.Status().Publishing.Pending == 0 })
	rig.WaitFresh(t, f)
	rig.Barrier(t, f)
	for _, p := range promises {
		id, other := p.identities()
		rig.MustRefuse(t, l, id)
		rig.MustPass(t, l, other)
	}
	s, stats := l.Stats(revoke.Now()), last.Status().Publishing
	t.Logf("%d rounds: %d acknowledged, %d kept, %d of them not applied at the last kill; %d sessions and %d cutoffs applied, %d of them again",
		rounds, acked, kept, waiting, s.Applied[revoke.KindSession], s.Applied[revoke.KindSubject], int(s.Applied[revoke.KindSession]+s.Applied[revoke.KindSubject])-len(promises))
	if acked < rounds/3 || kept == 0 || stats.OutboxDamaged > 0 || s.Replays != 1 {
		t.Errorf("%d acknowledged, %d kept, publisher %+v, replica %+v", acked, kept, stats, s)
	}
}

// pause lets the time pass in which others do what they do: a fault's, never a condition's.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
