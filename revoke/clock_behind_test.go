package revoke_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// What docs/oncall.md says of a publisher's clock that is behind: within MaxSkew its
// cutoffs hold every token, though issuers date those up to MaxSkew ahead; beyond, they
// spare tokens that were issued before.
func TestCutoffOfAClockBehind(t *testing.T) {
	const skew = 2 * time.Second
	for _, x := range []struct {
		behind  time.Duration
		revoked bool
	}{{0, true}, {skew, true}, {skew + time.Millisecond, false}, {time.Minute, false}} {
		l, err := revoke.NewList(revoke.Config{Local: true, MaxSkew: skew})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().Truncate(time.Millisecond)
		h := revoke.DefaultRetention()
		h.MaxSkew = skew
		e, err := revoke.Event{Issuer: "https://auth.example.com", Kind: revoke.KindSubject, Value: "user-1"}.Complete(now.Add(-x.behind), h)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Apply(revoke.Now(), e); err != nil {
			t.Fatal(err)
		}
		id := revoke.Identity{Issuer: e.Issuer, Subject: e.Value, Token: "a", IssuedAt: now, MintedAt: now.Add(skew), ExpiresAt: now.Add(time.Minute)}
		if err := l.Check(revoke.Now(), &id, revoke.Deny()); errors.Is(err, revoke.ErrRevoked) != x.revoked {
			t.Errorf("behind by %s: %v", x.behind, err)
		}
	}
}
