package stream

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Keys of the stream's metadata. The retention lives there because every party must
// agree on them and nobody may change them alone.
const (
	metaSchema          = "hybridtoken.schema"
	metaTokenLifetime   = "hybridtoken.token_lifetime_ms"
	metaSessionLifetime = "hybridtoken.session_lifetime_ms"
	metaMaxSkew         = "hybridtoken.max_skew_ms" // absent in older streams
	schemaVersion       = "1"
)

// retention reads both lifetimes, and the skew of clocks, from the stream's metadata.
func retention(meta map[string]string) (revoke.Retention, error) {
	if v := meta[metaSchema]; v != schemaVersion {
		return revoke.Retention{}, fmt.Errorf("metadata %s is %q, want %q", metaSchema, v, schemaVersion)
	}
	var h revoke.Retention
	for _, f := range []struct {
		key string
		dst *time.Duration
	}{{metaTokenLifetime, &h.TokenLifetime}, {metaSessionLifetime, &h.SessionLifetime}} {
		ms, err := strconv.ParseInt(meta[f.key], 10, 64)
		if err != nil || ms < time.Second.Milliseconds() || ms > revoke.MaxLifetime.Milliseconds() {
			return revoke.Retention{}, fmt.Errorf("metadata %s is %q, no lifetime in milliseconds", f.key, meta[f.key])
		}
		*f.dst = time.Duration(ms) * time.Millisecond
	}
	v, ok := meta[metaMaxSkew]
	if !ok {
		v = defaultSkewText
	}
	ms, err := strconv.ParseInt(v, 10, 64)
	if err != nil || ms < 1 || ms > revoke.MaxSkewLimit.Milliseconds() {
		return revoke.Retention{}, fmt.Errorf("metadata %s is %q, no skew of clocks in milliseconds", metaMaxSkew, v)
	}
	h.MaxSkew = time.Duration(ms) * time.Millisecond
	return h, nil
}

// A Fixed remembers the longest retention that this process has read of a stream. They are
// fixed for its life: who lets them shrink has events forgotten that were to live longer.
type Fixed struct {
	mu        sync.Mutex
	created   time.Time        // guarded by mu: of which stream; it may be made anew
	retention revoke.Retention // guarded by mu
}

// shrunk takes note of h, which is zero if it cannot be read, and lists what is shorter
// than it was. The largest hold: cutoffs and lives were made by them.
func (f *Fixed) shrunk(created time.Time, h revoke.Retention) (largest revoke.Retention, list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !created.Equal(f.created) {
		f.created, f.retention = created, revoke.Retention{}
	}
	for _, v := range []struct {
		key  string
		had  *time.Duration
		have time.Duration
	}{
		{metaTokenLifetime, &f.retention.TokenLifetime, h.TokenLifetime},
		{metaSessionLifetime, &f.retention.SessionLifetime, h.SessionLifetime},
		{metaMaxSkew, &f.retention.MaxSkew, h.MaxSkew},
	} {
		if v.have < *v.had && h != (revoke.Retention{}) { // unreadable is another hazard
			list = append(list, fmt.Sprintf("metadata %s was %d and has shrunk to %d", v.key, v.had.Milliseconds(), v.have.Milliseconds()))
		}
		*v.had = max(*v.had, v.have)
	}
	return f.retention, list
}

// defaultSkewText is what a stream means that was made before the metadata told MaxSkew.
var defaultSkewText = strconv.FormatInt(revoke.DefaultRetention().MaxSkew.Milliseconds(), 10)
