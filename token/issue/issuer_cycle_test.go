package issue_test

import (
	"errors"
	"testing"

	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A claim that refers to itself is an error, not the end of the process.
func TestIssueCyclicClaims(t *testing.T) {
	i := forge.NewIssuer(t, forge.Ring(t, issue.KeyringConfig{}), nil)
	m := map[string]any{}
	m["self"] = m
	s := []any{nil}
	s[0] = s
	for name, v := range map[string]any{"map": m, "slice": s} {
		r := forge.Request()
		r.Claims = map[string]any{"x": v}
		if _, err := i.Issue(t.Context(), r); !errors.Is(err, issue.ErrIssue) {
			t.Errorf("a cyclic %s: error %v", name, err)
		}
	}
	r := forge.Request()
	r.Claims = map[string]any{"x": map[string]any{"y": []any{"z"}}}
	if _, err := i.Issue(t.Context(), r); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}
