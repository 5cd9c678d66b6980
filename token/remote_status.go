package token

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// RemoteKeySetStatus is what [RemoteKeySet.Status] reports.
type RemoteKeySetStatus struct {
	URL       string        // where the keys are fetched; empty until it is discovered
	Usable    bool          // there are keys, and they are not too old
	Keys      int           // at hand
	Skipped   []string      // why keys of the last set are not used, one line a key
	FetchedAt time.Time     // when the server last confirmed them; zero if it never did
	Age       time.Duration // since then
	Err       error         // of the last fetch, nil if it succeeded
	Failures  int           // in a row
	Fetches   uint64        // finished, failed ones included
	Unchanged uint64        // of these, answered by 304
	Refused   uint64        // look-ups of keys that the issuer does not publish
}

// Status reports how the set is doing, for a health page or a metric: a set whose
// Age grows beyond twice RefreshInterval while it is in use is in trouble, and at
// MaxAge nothing verifies any more.
func (s *RemoteKeySet) Status() RemoteKeySetStatus {
	st := RemoteKeySetStatus{URL: shown(s.address())}
	if c := s.current.Load(); c != nil {
		st.FetchedAt = time.Unix(0, c.at.Wall)
		st.Age = revoke.Now().Since(c.at)
		if c.keys != nil {
			st.Keys = c.keys.Len()
			st.Skipped = c.keys.reasons()
			st.Usable = c.usable() && st.Age < s.cfg.MaxAge
		}
	}
	st.Refused = s.refused.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Err, st.Failures, st.Fetches, st.Unchanged = s.lastErr, s.failures, s.fetches, s.unchanged
	return st
}

// address returns where the keys are fetched, empty until it is discovered.
func (s *RemoteKeySet) address() string {
	if s.url != nil {
		return *s.url
	}
	if at := s.where.Load(); at != nil {
		return at.url
	}
	return ""
}

// String says where the keys are from, without a query, which may hold a key.
func (s *RemoteKeySet) String() string {
	return "token.RemoteKeySet{" + shown(cmp.Or(s.address(), s.issuer)) + "}"
}

// GoString returns [RemoteKeySet.String].
func (s *RemoteKeySet) GoString() string { return s.String() }

// LogValue logs what [RemoteKeySet.String] says.
func (s *RemoteKeySet) LogValue() slog.Value {
	return slog.StringValue(shown(cmp.Or(s.address(), s.issuer)))
}
