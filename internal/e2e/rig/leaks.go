package rig

import (
	"testing"

	"go.uber.org/goleak"
)

// NoLeaks fails the test if a goroutine outlives it. Call it first.
func NoLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}
