package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// FuzzDecodeWork: a list of pending work, no matter what wrote it, is one that can be or an error,
// and is written back as it was read.
func FuzzDecodeWork(f *testing.F) {
	good, err := encodeRecord(&workList{V: recordVersion, Work: []work{{SID: sidText([16]byte{1}), At: 5}, {Subject: "u", At: 7}}})
	if err != nil {
		f.Fatal(err)
	}
	if l, err := decodeWork(good); err != nil || len(l.Work) != 2 {
		f.Fatal(l, err)
	}
	for _, bad := range []string{
		"", "{}", `{"v":2}`, `{"v":1,"v":1}`, `{"v":1,"work":[{"at":1}]}`, `{"v":1,"work":[{"sid":"x","at":1}]}`,
		`{"v":1,"work":[{"sub":"x","at":-1}]}`, `{"v":1,"work":[{"sid":"AAAAAAAAAAAAAAAAAAAAAA","sub":"x","at":1}]}`, string(good) + "x",
	} {
		if _, err := decodeWork([]byte(bad)); err == nil {
			f.Errorf("taken: %s", bad)
		}
		f.Add([]byte(bad))
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := decodeWork(data)
		if err != nil {
			return
		}
		again, err := encodeRecord(l)
		if err != nil {
			return // it is longer written out
		}
		if _, err := decodeWork(again); err != nil {
			t.Fatalf("%q is written back as %q: %v", data, again, err)
		}
	})
}

// Work is named before it is pending: a look in between leaves it named, for a while.
func TestWorkIsNamedBeforeItIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instances(t, Web, 0)[0]
		g := m.mustLogin(t)
		m.owe(t.Context(), work{SID: g.SessionID})
		m.owe(t.Context(), work{SID: g.SessionID})
		named := func() (n int) {
			for i := range workLists {
				l, err := m.loadWork(t.Context(), m.workKey(i))
				if err != nil {
					t.Fatal(err)
				}
				n += len(l.Work)
			}
			return n
		}
		for _, want := range []int{1, 1, 1, 0} {
			m.finishPending(t.Context())
			if n := named(); n != want || m.pending.Load().count != want {
				t.Errorf("%d named, %d counted, want %d", n, m.pending.Load().count, want)
			}
			time.Sleep(50 * time.Second)
		}
	})
}

// failingBus is a publisher that counts what it is asked for and publishes nothing.
type failingBus struct{ asked int }

func (f *failingBus) Publish(context.Context, revoke.Event) (revoke.Receipt, error) {
	f.asked++
	return revoke.Receipt{}, errors.New("bus down")
}

// A look gives a bus up that fails three times, however much is pending in whichever lists; a
// look that finds less tries all of it.
func TestALookGivesUpABusThatIsDown(t *testing.T) {
	for pending, want := range map[int]int{0: 0, 2: 2, 3: 3, 4: 3, 40: 3} {
		synctest.Test(t, func(t *testing.T) {
			m := instances(t, Web, 0)[0]
			bus := new(failingBus)
			m.cfg.Publisher = bus
			for range pending {
				if err := m.Logout(t.Context(), m.mustLogin(t).SessionID); !errors.Is(err, ErrPending) {
					t.Fatal(err)
				}
			}
			bus.asked = 0
			m.finishPending(t.Context())
			if bus.asked != want {
				t.Errorf("%d pending: the bus is asked %d times, want %d", pending, bus.asked, want)
			}
			if seen := m.pending.Load(); seen.count != pending || seen.failed {
				t.Errorf("%d pending, seen are %d, failed: %t", pending, seen.count, seen.failed)
			}
		})
	}
}

// counting counts how often lists of pending work are read.
type counting struct {
	Store
	lists atomic.Int64
}

func (c *counting) Load(ctx context.Context, key string) (Record, error) {
	if key[0] == 'p' {
		c.lists.Add(1)
	}
	return c.Store.Load(ctx, key)
}

// A Manager looks about once a minute, not sooner than half a minute after the last time and
// not later than a minute and a half: each look reads each list once.
func TestLooksAboutOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instances(t, Web, 0)[0]
		store := &counting{Store: m.cfg.Store}
		m.cfg.Store = store
		m.wg.Go(m.lookForWork)
		defer m.Close()
		var looks, least, most int
		least = 1 << 30
		since := 0 // tenths of seconds
		for range 24 * 3600 * 10 / 100 {
			before := store.lists.Load()
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				since++
				now := store.lists.Load()
				if now == before {
					continue
				}
				if now-before != workLists {
					t.Fatalf("%d lists were read", now-before)
				}
				before = now
				if looks++; looks > 1 {
					least, most = min(least, since), max(most, since)
				}
				since = 0
			}
		}
		if looks < 24*60*9/10 || looks > 24*60*11/10 || least < 299 || most > 901 {
			t.Errorf("%d looks in a day, from %d to %d tenths of a second apart", looks, least, most)
		}
	})
}
