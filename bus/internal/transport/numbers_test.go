package transport

import (
	"testing"
	"time"
)

// The numbers that documentation and runbooks rely on, or that were weighed against each
// other.
func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		"warnPercent":     {warnPercent, 80},
		"streamTimeout":   {streamTimeout, 3 * time.Second},
		"steady":          {steady, time.Minute},
		"firstRedial":     {firstRedial, 500 * time.Millisecond},
		"maxRedial":       {MaxRedial, 30 * time.Second},
		"maxUnreached":    {maxUnreached, 2 * time.Second},
		"refusalLook":     {refusalLook, 5 * time.Second},
		"refusalPatience": {refusalPatience, 30 * time.Second},
		"defaultTimeout":  {DefaultTimeout, 15 * time.Second},
		"infoTimeout":     {InfoTimeout, 2 * time.Second},
		"attemptTimeout":  {AttemptTimeout, 2 * time.Second},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
