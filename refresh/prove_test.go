package refresh_test

import (
	"errors"
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/token"
)

// Request.Prove is asked once, and only for a refresh token that is known to be good.
func TestProve(t *testing.T) {
	s := newSystem(t)
	key := token.Binding{KeyThumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}
	other := token.Binding{KeyThumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
	bound := func(l *refresh.Login) { l.Binding = key }
	g, over := s.login(t, bound), s.login(t, bound)
	if err := s.Logout(t.Context(), over.SessionID); err != nil {
		t.Fatal(err)
	}
	odd := errors.New("odd")
	for _, x := range []struct {
		name   string
		token  string
		change func(*refresh.Request)
		is     token.Binding
		err    error
		want   error
		asked  int
	}{
		{"a stranger", "htr1_unknown", nil, key, nil, refresh.ErrUnknown, 0},
		{"a session that is over", over.RefreshToken(), nil, key, nil, refresh.ErrEnded, 0},
		{"another client", g.RefreshToken(), byClient("other"), key, nil, refresh.ErrClient, 0},
		{"a bad proof", g.RefreshToken(), nil, token.Binding{}, token.ErrProof, refresh.ErrPossession, 1},
		{"which stays what it is", g.RefreshToken(), nil, token.Binding{}, token.ErrNonce, token.ErrNonce, 1},
		{"another error", g.RefreshToken(), nil, key, odd, odd, 1},
		{"no room to remember it", g.RefreshToken(), nil, key, token.ErrUnavailable, refresh.ErrTryAgain, 1},
		{"another key", g.RefreshToken(), nil, other, nil, refresh.ErrPossession, 1},
		{"no key", g.RefreshToken(), nil, token.Binding{}, nil, refresh.ErrPossession, 1},
		{"a Binding too", g.RefreshToken(), boundTo(key), key, nil, refresh.ErrRequest, 0},
		{"the key", g.RefreshToken(), nil, key, nil, nil, 1},
		{"the key, for a retry", g.RefreshToken(), nil, key, nil, nil, 1},
	} {
		r, asked := request(x.token), 0
		r.Prove = func() (token.Binding, error) { asked++; return x.is, x.err }
		if x.change != nil {
			x.change(&r)
		}
		_, err := s.Refresh(t.Context(), r)
		if !errors.Is(err, x.want) || x.want == nil && err != nil || asked != x.asked {
			t.Errorf("%s: %v, asked %d times", x.name, err, asked)
		}
		if errors.Is(err, refresh.ErrTryAgain) && errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("%s: of two families: %v", x.name, err)
		}
	}
	// A lost compare-and-set has the session looked at again, not the proof.
	g = s.login(t, bound)
	r, asked := request(g.RefreshToken()), 0
	r.Prove = func() (token.Binding, error) {
		if asked++; asked == 1 {
			if _, err := s.Refresh(t.Context(), request(g.RefreshToken(), boundTo(key))); err != nil {
				t.Error(err)
			}
		}
		return key, nil
	}
	if _, err := s.Refresh(t.Context(), r); err != nil || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
}
