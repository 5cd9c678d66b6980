package rollcall_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// podEnv has a process of this test follow the server of that URL, under the name that
// follows a space.
const podEnv = "HYBRIDTOKEN_E2E_POD"

// podStaleness is the MaxStaleness of pods.
const podStaleness = 5 * time.Second

// pod is a service that checks one token all the time and prints each change of the
// answer, with the instant at which that check began, in unix nanoseconds.
func pod() {
	url, name, _ := strings.Cut(os.Getenv(podEnv), " ")
	cfg := rig.Quick
	cfg.MaxStaleness = podStaleness
	list, err := revoke.NewList(cfg)
	if err == nil {
		_, err = bus.Join(context.Background(), bus.Config{Servers: url, List: list, Name: name})
	}
	if err != nil {
		fmt.Println(0, err)
		return
	}
	id, said := rig.Session("meanwhile"), ""
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		began := revoke.Now()
		word := "accepted"
		switch err := list.Check(began, &id, revoke.Deny()); {
		case errors.Is(err, revoke.ErrRevoked):
			word = "refused"
		case errors.Is(err, revoke.ErrStale):
			word = "stale"
		}
		if word != said {
			said = word
			fmt.Println(began.Time().UnixNano(), word)
		}
	}
}

// A podProcess is one pod.
type podProcess struct {
	*rig.Role
	t *testing.T
}

func startPod(ctx context.Context, t *testing.T, url, name string) podProcess {
	t.Helper()
	p := podProcess{rig.StartRole(ctx, t, podEnv, url+" "+name), t}
	t.Cleanup(p.Kill)
	return p
}

// next returns when the next check that answered otherwise than the one before began,
// and its answer.
func (p podProcess) next() (time.Time, string) {
	p.t.Helper()
	line := p.Next()
	at, word, _ := strings.Cut(line, " ")
	ns, err := strconv.ParseInt(at, 10, 64)
	if err != nil || ns == 0 {
		p.t.Fatal(line)
	}
	return time.Unix(0, ns), word
}

// until reads answers up to that one; none of a check that began after by may be
// "accepted".
func (p podProcess) until(word string, by time.Time) {
	p.t.Helper()
	for {
		at, w := p.next()
		if w == "accepted" && at.After(by) {
			p.t.Errorf("a check that began %s after EffectiveBy accepts what was revoked", at.Sub(by))
		}
		if w == word {
			return
		}
	}
}

// A roll call beside a pod that is frozen and one that was killed: the receipt names
// both, and by EffectiveBy the frozen one, thawed, refuses or is stale with its very
// first check, and accepts nothing from then on. Invariant 1. Who was killed said no
// farewell: a wait for all goes on to its bound; one for a number does not.
func TestRollCallFrozen(t *testing.T) {
	t.Parallel() // it waits
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	pub := rig.Join(t, conn, bus.Config{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 3*rig.Deadline)
	defer cancel()
	steady := startPod(ctx, t, br.URL(), "steady")
	frozen := startPod(ctx, t, br.URL(), "frozen")
	killed := startPod(ctx, t, br.URL(), "killed")
	for _, p := range []podProcess{steady, frozen, killed} {
		p.until("accepted", time.Now().Add(time.Hour))
	}
	wait := func(sid string, cfg rollcall.Config) (rollcall.Receipt, error) {
		t.Helper()
		cfg.MaxStaleness = podStaleness
		return rollcall.Revoke(ctx, pub, revoke.Event{Kind: revoke.KindSession, Value: sid}, cfg)
	}
	rig.Eventually(t, "all three confirm", func() bool {
		_, err := wait("before", rollcall.Config{Replicas: 3})
		return err == nil
	})

	frozen.Signal(syscall.SIGSTOP)
	killed.Kill()
	r, err := wait("meanwhile", rollcall.Config{})
	mustBeUnconfirmed(t, r, err, nil)
	if got := rig.Applied(r); len(got) != 1 || !got["steady"].Applied {
		t.Errorf("confirmed by %+v", got)
	}
	for _, name := range []string{"frozen", "killed"} {
		if rep := replicaOf(t, r, name); rep.Problem != "no answer" || rep.MaxStaleness != podStaleness || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v; %v", rep, err)
		}
	}
	if d := r.EffectiveBy.Sub(r.Time); d != podStaleness {
		t.Errorf("effective after %s", d)
	}
	steady.until("refused", r.EffectiveBy)
	rig.Eventually(t, "EffectiveBy", func() bool { return time.Now().After(r.EffectiveBy) })
	frozen.Signal(syscall.SIGCONT)
	frozen.until("refused", r.EffectiveBy)

	// The thawed one confirms again. The dead one is named, until it has been silent for
	// ten minutes or somebody gives a number.
	rig.Eventually(t, "the thawed pod confirms", func() bool {
		r, err := wait("thawed", rollcall.Config{Replicas: 2})
		return err == nil && rig.Applied(r)["frozen"].Applied
	})
	again := startPod(ctx, t, br.URL(), "again")
	again.until("refused", r.EffectiveBy) // it was told of by the log
	rig.Eventually(t, "as many as there are confirm", func() bool {
		r, err := wait("number", rollcall.Config{Replicas: 3})
		return err == nil && rig.Applied(r)["again"].Applied
	})
	r, err = wait("all", rollcall.Config{})
	mustBeUnconfirmed(t, r, err, nil)
	if rep := replicaOf(t, r, "killed"); rep.Problem != "no answer" || len(rig.Applied(r)) != 3 {
		t.Errorf("%+v", r.Replicas)
	}
}
