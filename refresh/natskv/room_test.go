package natskv

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Fill goes by what Save goes by: a new record passes up to NewLimit and not beyond, and a
// reading that failed does not count as one.
func TestFillIsWhatSaveGoesBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(Store)
		if f := s.Fill(); !f.At.IsZero() || f.Bytes != 0 {
			t.Errorf("before anything is known: %+v", f)
		}
		info := &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxBytes: 100 << 20}, State: jetstream.StreamState{Bytes: 10 << 20, Msgs: 1000}}
		s.room.note(info, nil)
		read := time.Now()
		f := s.Fill()
		if !f.At.Equal(read) || f.Bytes != 10<<20 || f.MaxBytes != 100<<20 || f.NewLimit != (f.MaxBytes-lasting(f.MaxBytes))/10*9-1000*growth || f.NewLimit < f.MaxBytes/10*8 {
			t.Fatalf("as read: %+v", f)
		}
		if _, ok := s.room.take(int(f.NewLimit-f.Bytes), true); !ok {
			t.Error("a new record up to NewLimit is refused")
		}
		limit := f.NewLimit
		if f = s.Fill(); f.Bytes != limit || f.NewLimit != limit-growth {
			t.Errorf("what is written does not count: %+v", f)
		}
		time.Sleep(time.Minute)
		due, ok := s.room.take(1, true)
		if !due || ok {
			t.Errorf("beyond NewLimit: due %t, taken %t", due, ok)
		}
		if f = s.Fill(); !f.At.Equal(read) {
			t.Errorf("a reading that is only due moves At by %s", f.At.Sub(read))
		}
		if after := s.Fill(); after.Bytes != limit || after.NewLimit != limit-growth {
			t.Errorf("what was refused takes room: %+v", after)
		}
		if got := fmt.Sprint(s); got != `natskv.Store{bucket: ""}` {
			t.Errorf("it prints as %s", got)
		}
	})
}
