package refresh

import (
	"testing"
	"testing/synctest"
	"time"
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
