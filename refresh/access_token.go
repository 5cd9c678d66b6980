package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/token/issue"
)

// token issues an access token of s that is dated so, which ends before s does. ErrConflict
// means that the denylist says something else by now than when it was asked.
func (m *Manager) token(ctx context.Context, s *session, scope []string, issued int64) (minted, error) {
	at, _ := s.deadline(&m.cfg.Lifetimes)
	life := min(m.cfg.Lifetimes.Access, time.Duration(at-issued)*time.Millisecond)
	if life < time.Second {
		return minted{}, ErrSessionExpired
	}
	r := issue.Request{
		Subject: s.Subject, Client: s.Client, Session: s.SID, Tenant: s.Tenant, Audience: s.Audience, Scope: scope,
		AuthTime: time.UnixMilli(s.AuthTime), ACR: s.ACR, AMR: s.AMR, Binding: s.binding(),
		IssuedAt: time.UnixMilli(issued), Lifetime: life,
	}
	if len(s.Claims) > 0 {
		var err error
		if r.Claims, err = decodeClaims(s.Claims); err != nil {
			return minted{}, err
		}
	}
	t, err := m.mint(ctx, r)
	if errors.Is(err, ErrConflict) {
		return minted{}, err
	}
	if err != nil {
		return minted{}, fmt.Errorf("%w: %w", errMint, err)
	}
	return t, nil
}
