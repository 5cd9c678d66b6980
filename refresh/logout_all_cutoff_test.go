package refresh

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A cutoff never moves back, by whatever clock the next logout everywhere is made.
func TestCutoffOnlyGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		two := instances(t, Web, 1500*time.Millisecond, 0)
		ahead, right := two[0], two[1]
		for _, m := range []*Manager{ahead, right} {
			if _, err := m.LogoutAll(t.Context(), "user-1"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		login := Login{
			Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(),
			Recheck: func(context.Context) error { return nil },
		}
		if _, err := right.Login(t.Context(), login); !errors.Is(err, ErrSuperseded) {
			t.Errorf("authenticated before the cutoff: %v", err)
		}
		time.Sleep(time.Second)
		right.mustLogin(t)
	})
}
