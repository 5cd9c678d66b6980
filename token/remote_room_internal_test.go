package token

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// Each that waited for a fetch gives its room back, whether it was answered, hung up or was told that
// there is no room: a crowd that is gone keeps nobody out.
func TestRoomForWaitingIsGivenBack(t *testing.T) {
	for room, held := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, landed := new(RemoteKeySet), &flight{done: make(chan struct{})}
			close(landed.done)
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			for range 2 * maxWaiting[room] {
				if err := s.wait(t.Context(), landed, held); err != nil {
					t.Fatal(err)
				}
				if err := s.wait(gone, &flight{done: make(chan struct{})}, held); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			for range 2 {
				aloft := &flight{done: make(chan struct{})}
				answers := make(chan error, maxWaiting[room])
				for range maxWaiting[room] {
					go func() { answers <- s.wait(t.Context(), aloft, held) }()
				}
				synctest.Wait()
				for range 3 {
					if err := s.wait(t.Context(), aloft, held); !errors.Is(err, errCrowded) {
						t.Errorf("beside %d who wait: %v", maxWaiting[room], err)
					}
				}
				close(aloft.done)
				for range maxWaiting[room] {
					if err := <-answers; err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
