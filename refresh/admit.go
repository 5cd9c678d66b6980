package refresh

import "github.com/hybridtoken/hybridtoken/internal/admit"

func init() {
	admit.SessionOf = func(refreshToken string) string {
		p, ok := parseToken(refreshToken)
		if !ok {
			return ""
		}
		return sidText(p.sid)
	}
}
