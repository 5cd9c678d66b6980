package refresh_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// rawToken returns the bytes of a refresh token: session id, check, family, generation.
func rawToken(t *testing.T, refreshToken string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(refreshToken, "htr1_"))
	if err != nil || len(b) != 16+8+32+32 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	return b
}

func spellRaw(b []byte) string { return "htr1_" + base64.RawURLEncoding.EncodeToString(b) }

// checked spells the token with the check that everybody can compute.
func checked(b []byte) string {
	h := sha256.New()
	h.Write([]byte("hybridtoken refresh token\x00"))
	h.Write(b[:16])
	h.Write(b[24:])
	copy(b[16:24], h.Sum(nil))
	return spellRaw(b)
}

// mixed is a token with the session id of one and the secrets of the other, as a stranger
// makes one up who knows a session id.
func mixed(t *testing.T, session, secrets *refresh.Grant) string {
	t.Helper()
	b := rawToken(t, secrets.RefreshToken())
	copy(b[:16], rawToken(t, session.RefreshToken()))
	return checked(b)
}

// A lagging store answers one read of a record with what it kept of it.
type lagging struct {
	refresh.Store
	mu     sync.Mutex
	prefix string
	last   map[string]refresh.Record
	lag    atomic.Bool
}

// keep remembers the records of that kind as they are, when they are next written.
func (l *lagging) keep(prefix string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prefix, l.last = prefix, map[string]refresh.Record{}
}

func (l *lagging) Load(ctx context.Context, key string) (refresh.Record, error) {
	l.mu.Lock()
	old, ok := l.last[key]
	l.mu.Unlock()
	if ok && l.lag.CompareAndSwap(true, false) {
		return old, nil
	}
	return l.Store.Load(ctx, key)
}

func (l *lagging) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	l.mu.Lock()
	if _, ok := l.last[key]; !ok && l.last != nil && strings.HasPrefix(key, l.prefix) {
		if old, err := l.Store.Load(ctx, key); err == nil {
			l.last[key] = old
		}
	}
	l.mu.Unlock()
	return l.Store.Save(ctx, key, value, revision, expires)
}
