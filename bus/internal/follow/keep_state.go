package follow

import (
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// savePause is the least time between two writings of a state file. What was revoked
// within it, a crash takes out of the file, until the bus tells it again.
const savePause = 10 * time.Second

// keepState writes the List's state file now and then until the follower is closed. It
// takes no more than a twentieth of the time, however large the List and slow the
// disk, and holds up nobody but Close.
func (f *Follower) keepState() {
	if f.list.Config().StateFile == "" {
		return
	}
	for f.ctx.Err() == nil {
		began := time.Now()
		_ = f.list.SaveState(revoke.Now()) // List.StateFile reports, and it has logged
		d := max(savePause, 20*time.Since(began))
		_ = pause.Wait(f.ctx, pause.Between(d, d+d/10))
	}
}
