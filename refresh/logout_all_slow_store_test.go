package refresh

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A pausing store takes its time for each access.
type pausing struct {
	Store
	each time.Duration
}

func (p *pausing) pause(ctx context.Context) error {
	select {
	case <-time.After(p.each):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pausing) Load(ctx context.Context, key string) (Record, error) {
	if err := p.pause(ctx); err != nil {
		return Record{}, err
	}
	return p.Store.Load(ctx, key)
}

func (p *pausing) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if err := p.pause(ctx); err != nil {
		return 0, err
	}
	return p.Store.Save(ctx, key, value, revision, expires)
}

// A thousand sessions in a store that takes 300 ms for each access: the services know at
// once, the sessions have ended within a minute, and the caller, who had a second, has no say
// in it.
func TestThousandSlowSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := instances(t, Web, 0)[0]
		store := &pausing{Store: m.cfg.Store}
		m.cfg.Store = store
		l := Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
		sub := subject{V: recordVersion, place: place{key: recordKey("u", m.issuer.Issuer, "user-1")}}
		for range maxSessions {
			var raw [16]byte
			rand.Read(raw[:])
			sid := sidText(raw)
			s := m.begun(&l, nil, sid, m.millis())
			s.Family, s.Current = make([]byte, 32), make([]byte, 32)
			s.place = place{key: m.sessionKey(sid)}
			if err := m.save(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			sub.Live = append(sub.Live, live{SID: sid, Until: s.Until})
		}
		if err := m.save(t.Context(), &sub); err != nil {
			t.Fatal(err)
		}
		store.each = 300 * time.Millisecond
		revoked := func() bool {
			id := revoke.Identity{Issuer: m.issuer.Issuer, Subject: "user-1", Session: sub.Live[999].SID, IssuedAt: l.AuthTime}
			return errors.Is(m.cfg.Revocations.Check(m.now(), &id, revoke.InsecureAllow()), revoke.ErrRevoked)
		}
		if revoked() {
			t.Fatal("revoked before the call")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		done := make(chan error)
		go func() {
			_, err := m.LogoutAll(ctx, "user-1")
			done <- err
		}()
		synctest.Wait()
		if !revoked() {
			t.Error("the services wait for the store")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Minute || took < time.Second {
			t.Errorf("it took %s", took)
		}
		store.each = 0
		for _, l := range sub.Live {
			if r, err := m.loadSession(t.Context(), l.SID); err != nil || r.Ended == 0 {
				t.Fatalf("session %s: ended %t, %v", l.SID, err == nil && r.Ended != 0, err)
			}
		}
	})
}
