package refresh

import (
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
)

func init() {
	admit.AccessLifetime = func(manager any) time.Duration { return manager.(*Manager).cfg.Lifetimes.Access }
	admit.IssuerOf = func(manager any) string { return manager.(*Manager).issuer.Issuer }
	admit.DeviceBound = func(grant any) bool { return grant.(*Grant).bound }
	admit.SessionOf = func(refreshToken string) string {
		p, ok := parseToken(refreshToken)
		if !ok {
			return ""
		}
		return sidText(p.sid)
	}
}
