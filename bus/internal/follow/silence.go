package follow

import (
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// reading reports whether the replica is not fresh because it reads the log and has not
// come to its end. It has nothing to lose then by being patient, and with a server that
// many followers keep busy much to gain.
func (f *Follower) reading(now revoke.Instant) bool {
	return f.beater.behind && f.list.Status(now).State != revoke.StateFresh
}

// excuse returns since when to wait instead of since, now that a timer due before has
// fired: by how much it was late does not count. Zero stays zero.
func excuse(since, due, now revoke.Instant) revoke.Instant {
	late := mono(due, now)
	if since.IsZero() || late <= 0 {
		return since
	}
	return since.Add(min(late, mono(since, now)))
}

// silenceLimit is how long a server that is to say every idle interval that it is there
// may say nothing. All deliveries of a stream wait in one line at the server, those for
// hundreds of others before ours. So it is longer where an own heartbeat has taken long
// to come through that line, up to when the escalation may be climbed, and for who reads the
// log. It doubles with each
// subscription that ended so since a heartbeat was last applied: a server that many
// followers have made slow is not mended by all of them beginning again. What one that
// ended had asked for stands before what the next asks for, so each asks for less.
func (f *Follower) silenceLimit(now revoke.Instant) time.Duration {
	limit := max(3*f.idle, min(3*f.beater.round, f.list.Config().MaxStaleness/2))
	if f.reading(now) {
		limit *= 4
	}
	return max(limit, min(limit<<min(f.silences, 8), 4*f.list.Config().MaxStaleness))
}
