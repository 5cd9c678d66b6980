package refresh_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// before is what the version before had in its store, and had given to clients, when it
// was stopped, by the clock of a bubble as this test has one.
type before struct {
	Written int64             `json:"written_ms"`
	Tokens  map[string]string `json:"refresh_tokens"`
	SIDs    map[string]string `json:"sessions"`
	Records map[string]struct {
		Value   json.RawMessage
		Expires int64 `json:"expires_ms"`
	}
}

// afterUpgrade is a Manager of this version on the records of the version before.
func afterUpgrade(t *testing.T) (*system, *before) {
	t.Helper()
	s, w := onSamples(t, "written-by-601627d")
	if len(w.Records) != 14 || len(w.Tokens) != 12 {
		t.Fatalf("%d records, %d tokens", len(w.Records), len(w.Tokens))
	}
	return s, w
}

// onSamples is a Manager on the records of a directory of samples, a second after they
// were written.
func onSamples(t *testing.T, dir string, change ...func(*refresh.Config)) (*system, *before) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", dir, "sessions.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := new(before)
	if err := json.Unmarshal(data, w); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(time.UnixMilli(w.Written).Add(time.Second)))
	s := newSystem(t, change...)
	for key, r := range w.Records {
		var value bytes.Buffer
		if err := json.Compact(&value, r.Value); err != nil {
			t.Fatal(err)
		}
		if _, err := s.store.Save(t.Context(), key, value.Bytes(), 0, time.UnixMilli(r.Expires)); err != nil {
			t.Fatal(err)
		}
	}
	return s, w
}

// published returns the events of one kind, by what they name.
func (s *system) published(kind revoke.Kind) (values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Kind == kind {
			values = append(values, e.Value)
		}
	}
	return values
}

// Sessions of the version before go on, and those that it has ended stay ended.
func TestSessionsOfTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := afterUpgrade(t)
		ctx := t.Context()
		again := func(name string, change ...func(*refresh.Request)) (*refresh.Grant, error) {
			return s.Refresh(ctx, request(w.Tokens[name], change...))
		}
		goesOn := func(name string, change ...func(*refresh.Request)) *refresh.Grant {
			t.Helper()
			g, err := again(name, change...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return nil
			}
			return g
		}
		over := func(name string, want error) {
			t.Helper()
			if _, err := again(name); !errors.Is(err, want) || !errors.Is(err, refresh.ErrLoginAgain) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}

		list, err := s.Sessions(ctx, "user-1")
		if err != nil || len(list) != 3 {
			t.Errorf("%d sessions are listed, %v", len(list), err)
		}
		for _, x := range list {
			if x.Client != "web" || x.Tenant != "acme" || x.Device.Label != "phone" || x.Device.Address != "192.0.2.1" || !slices.Equal(x.Scope, []string{"read", "write"}) {
				t.Errorf("listed: %+v", x)
			}
		}

		// A retry within the window that was open when the upgrade came is answered as the
		// version before would have.
		if g := goesOn("refreshed, predecessor"); g != nil && g.RefreshToken() != w.Tokens["refreshed"] {
			t.Error("a retry is given another successor than the version before gave out")
		}
		if g := goesOn("never refreshed"); g != nil {
			c := s.accepted(t, g)
			role, _ := c.Claim("role")
			if g.SessionID != w.SIDs["never refreshed"] || c.Subject() != "user-1" || c.SessionID() != g.SessionID || c.Tenant() != "acme" || c.ACR() != "gold" || !slices.Equal(c.AMR(), []string{"pwd", "otp"}) || string(role) != `"admin"` || !c.HasScope("write") {
				t.Errorf("claims %v", c)
			}
			if retried := goesOn("never refreshed"); retried != nil && retried.RefreshToken() != g.RefreshToken() {
				t.Error("a retry is given another successor")
			}
			s.refresh(t, g)
		}
		over("bound to a key", refresh.ErrPossession)
		if g := goesOn("bound to a key", boundTo(token.Binding{KeyThumbprint: strings.Repeat("A", 43)})); g != nil && g.TokenType != "DPoP" {
			t.Errorf("token type %s", g.TokenType)
		}
		kept := goesOn("everywhere, kept")
		goesOn("refreshed")

		for _, name := range []string{"ended", "ended, not published", "stolen", "stolen, successor", "everywhere, not kept", "everywhere, not published"} {
			over(name, refresh.ErrEnded)
		}
		// What the version before could not publish, this one does (invariant 9).
		if sids := s.published(revoke.KindSession); !slices.Contains(sids, w.SIDs["ended, not published"]) {
			t.Errorf("published %q, not the session that was ended without a bus", sids)
		}
		at := time.UnixMilli(w.Written)
		for subject, old := range map[string]time.Time{"user-4": at.Add(-2 * time.Minute), "user-5": at.Add(-time.Minute)} {
			if _, err := s.Login(ctx, refresh.Login{Subject: subject, Client: "web", Audience: []string{"api"}, AuthTime: old}); !errors.Is(err, refresh.ErrSuperseded) {
				t.Errorf("a login of %s from before its logout everywhere: %v", subject, err)
			}
		}
		if subjects := s.published(revoke.KindSubject); !slices.Contains(subjects, "user-5") {
			t.Errorf("published %q, not the user who was logged out everywhere without a bus", subjects)
		}

		// A token of before that was used up is theft once its window is over (invariant 8).
		over("refreshed, predecessor's predecessor", refresh.ErrReused)
		if sids := s.published(revoke.KindSession); !slices.Contains(sids, w.SIDs["refreshed"]) {
			t.Errorf("published %q, not the session that was robbed", sids)
		}
		over("refreshed", refresh.ErrEnded)
		if kept != nil {
			s.refresh(t, kept)
		}

		// Limits count from when the session began.
		time.Sleep(24 * time.Hour)
		over("everywhere, kept", refresh.ErrLoginAgain)
	})
}

// Refresh tokens with a check, and the records that came with them, are read for ever: their
// samples go on, are answered within their windows, and are judged as when they were written.
func TestSessionsWithChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := onSamples(t, "written-with-checks", func(c *refresh.Config) { c.Lifetimes = refresh.Consumer })
		if len(w.Tokens) != 9 {
			t.Fatalf("%d tokens", len(w.Tokens))
		}
		goesOn := func(name, successor string) {
			t.Helper()
			g, err := s.Refresh(t.Context(), request(w.Tokens[name]))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if successor != "" && g.RefreshToken() != w.Tokens[successor] {
				t.Errorf("%s: another successor", name)
			}
		}
		over := func(name string, want error) {
			t.Helper()
			if _, err := s.Refresh(t.Context(), request(w.Tokens[name])); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		goesOn("held, predecessor", "held") // after 16 s, of which 14 did not count
		goesOn("refreshed, predecessor", "refreshed")
		for _, name := range []string{"never refreshed", "refreshed", "held"} {
			goesOn(name, "")
			b := rawToken(t, w.Tokens[name])
			b[20]++
			if _, err := s.Refresh(t.Context(), request(spellRaw(b))); !errors.Is(err, refresh.ErrUnknown) {
				t.Errorf("%s, spelt otherwise: %v", name, err)
			}
		}
		over("stolen", refresh.ErrEnded)
		time.Sleep(time.Minute)
		over("late, burnt", refresh.ErrReused)
		over("late", refresh.ErrEnded)
	})
}
