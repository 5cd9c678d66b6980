package follow

import (
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The stream's metadata, configuration and hazards are read again while a subscription
// lives: every one to two of lookInterval, or of twice MaxStaleness where that is
// shorter, and troubledFactor times as often while the replica is not fresh or a hazard
// is known, so that what was mended counts soon. The jitter keeps many followers apart.
const (
	lookInterval   = 30 * time.Second
	minLook        = time.Second
	troubledFactor = 6
)

// A reading is what one look at the stream has shown.
type reading struct {
	begun   uint64 // the subscription during which it was taken
	info    replica.LogInfo
	hazards []string
}

// inspect reads the stream's state now and then until the follower is closed. It runs
// beside the follower's goroutine, which a server that does not answer must not hold up.
func (f *Follower) inspect() {
	base := min(lookInterval, max(minLook, 2*f.list.Config().MaxStaleness))
	tick := time.NewTicker(base / (2 * troubledFactor))
	defer tick.Stop()
	last, begun, every := time.Now(), uint64(0), pause.Between(base, 2*base)
	for {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			return
		}
		if now := f.begun.Load(); now != begun { // which has just read it
			last, begun = time.Now(), now
		}
		wait := every
		if f.troubled() {
			wait /= troubledFactor
		}
		if time.Since(last) < wait || begun == 0 || !f.report.Load().connected {
			continue
		}
		last, every = time.Now(), pause.Between(base, 2*base)
		info, hazards, err := f.t.Info(f.ctx)
		if err != nil {
			continue // no answer is no judgement; that a stream is gone, the subscription tells
		}
		select {
		case <-f.readings: // one that nobody has taken yet
		default:
		}
		f.readings <- reading{begun, info, hazards}
	}
}

// troubled reports whether there is something that may have been mended.
func (f *Follower) troubled() bool {
	return len(f.report.Load().hazards) > 0 || f.list.Status(revoke.Now()).State != revoke.StateFresh
}

// judge takes a reading of the present subscription.
func (f *Follower) judge(now revoke.Instant, r reading) {
	if r.begun != f.begun.Load() {
		return
	}
	f.hazards(r.hazards)
	f.feed.Judge(now, r.info)
	f.changed.Wake()
}

// hazards reports why the stream could forget, when that has changed.
func (f *Follower) hazards(list []string) {
	old := f.report.Load().hazards
	if slices.Equal(old, list) {
		return
	}
	f.note(func(r *report) { r.hazards = list })
	if len(list) > 0 {
		f.t.Log.Warn("bus: the stream could forget revocations", "stream", f.t.StreamName, "reasons", strings.Join(list, "; "))
	} else {
		f.t.Log.Info("bus: the stream's settings are as they should be again", "stream", f.t.StreamName)
	}
}
