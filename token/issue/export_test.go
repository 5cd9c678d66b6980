package issue

import (
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The states of a key.
const (
	KeyAnnounced = keyAnnounced
	KeyActive    = keyActive
	KeyRetired   = keyRetired
)

// MemoryStore is the one that package refresh makes.
type MemoryStore = recordstore.MemoryStore

// RingKey is ringKey.
func RingKey(issuer string) string { return ringKey(issuer) }

// SetClock replaces the clock of a shared ring.
func (c *KeyringConfig) SetClock(now func() revoke.Instant) { c.clock = now }

// Alone and RetireFor return the two times that follow from the others, for a
// configuration without defaults to fill in.
func (c KeyringConfig) Timing() (alone, ripeAfter, retireFor int64) {
	c, err := c.withDefaults()
	if err != nil {
		panic(err)
	}
	return int64(c.alone()), int64(c.ripeAfter()), int64(c.retireFor())
}

// SetClock has the Issuer read another clock.
func (i *Issuer) SetClock(now func() time.Time) { i.now = now }
