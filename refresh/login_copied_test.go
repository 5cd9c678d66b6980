package refresh_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// What a login was checked with is what its session has, whatever the caller does with the
// lists meanwhile: Recheck is the caller's code, and runs between the two.
func TestLoginListsAreCopied(t *testing.T) {
	s := newSystem(t)
	if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil {
		t.Fatal(err)
	}
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, Scope: []string{"read"}, AMR: []string{"pwd"}, AuthTime: time.Now().Add(time.Second)}
	checks := 0
	l.Recheck = func(context.Context) error {
		checks++
		l.Audience[0], l.Scope[0], l.AMR[0] = "other", "admin", "hwk"
		return nil
	}
	g, err := s.Login(t.Context(), l)
	if err != nil || checks != 1 {
		t.Fatalf("%v after %d checks", err, checks)
	}
	c := s.accepted(t, g)
	if !slices.Equal(c.Audience(), []string{"api"}) || !slices.Equal(g.Scope, []string{"read"}) || !slices.Equal(c.AMR(), []string{"pwd"}) {
		t.Errorf("audience %q, scope %q, amr %q", c.Audience(), g.Scope, c.AMR())
	}
}
