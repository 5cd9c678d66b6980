package transport

import (
	"errors"
	"testing"
	"testing/synctest"
)

// Close waits for what is in flight and lets nothing in behind it.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New("S", Logger(nil))
		leave, err := b.Enter()
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			b.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait")
		default:
		}
		if b.Context.Err() == nil {
			t.Error("what is in flight is not told to end")
		}
		if _, err := b.Enter(); !errors.Is(err, ErrClosed) {
			t.Errorf("entered behind Close: %v", err)
		}
		leave()
		<-closed
		b.Close()
	})
}
