package refresh_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A replica that cannot know is no reason to log anybody out; nor is a store.
func TestTryAgain(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	s.store.fail = errors.New("no store")
	s.refused(t, g, refresh.ErrStore)
	if _, err := s.Login(t.Context(), refresh.Login{Subject: "u", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}); !errors.Is(err, refresh.ErrTryAgain) {
		t.Error(err)
	}
	s.store.fail = nil
	s.refresh(t, g)

	list, err := revoke.NewList(revoke.Config{}) // nobody feeds it
	if err != nil {
		t.Fatal(err)
	}
	s = newSystem(t, func(c *refresh.Config) { c.Revocations = list })
	g = s.login(t)
	s.refused(t, g, refresh.ErrTryAgain)
	if _, err := s.Refresh(t.Context(), request(g.RefreshToken())); !errors.Is(err, revoke.ErrStale) {
		t.Error(err)
	}
}

// endedMeanwhile ends a session when it is first read.
type endedMeanwhile struct {
	refresh.Store
	end func()
}

func (s *endedMeanwhile) Load(ctx context.Context, key string) (refresh.Record, error) {
	r, err := s.Store.Load(ctx, key)
	if !strings.HasPrefix(key, "s.") {
		return r, err
	}
	if end := s.end; end != nil {
		s.end = nil
		end()
	}
	return r, err
}

// failsFor is a store that fails for one kind of record alone.
type failsFor struct {
	refresh.Store
	kind      string // what the key begins with; empty: none
	read      bool   // what fails: reading or writing
	unwritten error
}

func (f *failsFor) Load(ctx context.Context, key string) (refresh.Record, error) {
	if f.kind != "" && f.read && strings.HasPrefix(key, f.kind) {
		return refresh.Record{}, f.unwritten
	}
	return f.Store.Load(ctx, key)
}

func (f *failsFor) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if f.kind != "" && !f.read && strings.HasPrefix(key, f.kind) {
		return 0, f.unwritten
	}
	return f.Store.Save(ctx, key, value, revision, expires)
}

// A store that fails for the records of subjects, or of sessions, alone: every call ends in
// "try again" or in what it was for, and nothing that was promised is missing once the store
// is mended.
func TestStoreFailsForOneKindOfRecord(t *testing.T) {
	for _, kind := range []string{"u.", "s."} {
		for _, read := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s read %t", kind, read), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := &failsFor{read: read, unwritten: errors.New("no store")}
					s := newSystem(t, func(c *refresh.Config) { store.Store, c.Store = c.Store, store })
					out, all, stays := s.login(t), s.login(t, func(l *refresh.Login) { l.Subject = "user-2" }), s.login(t, func(l *refresh.Login) { l.Subject = "user-3" })
					store.kind = kind
					failed := 0
					check := func(what string, err error) (done bool) {
						t.Helper()
						if err == nil {
							return true
						}
						if failed++; !errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
							t.Errorf("%s: %v", what, err)
						}
						return false
					}
					_, err := s.Login(t.Context(), refresh.Login{Subject: "user-4", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()})
					check("Login", err)
					next, err := s.Refresh(t.Context(), request(stays.RefreshToken()))
					if !check("Refresh", err) {
						next = stays
					}
					list, err := s.Sessions(t.Context(), "user-3")
					if check("Sessions", err) && (len(list) != 1 || list[0].ID != stays.SessionID) {
						t.Errorf("sessions shown: %v", list)
					}
					if check("Logout", s.Logout(t.Context(), out.SessionID)) {
						s.dead(t, out)
					}
					_, err = s.LogoutAll(t.Context(), "user-2")
					check("LogoutAll", err)
					s.dead(t, all) // told, whatever the store does
					if failed == 0 {
						t.Fatal("nothing failed")
					}
					store.kind = ""
					if err := s.Logout(t.Context(), out.SessionID); err != nil {
						t.Error(err)
					}
					if _, err := s.LogoutAll(t.Context(), "user-2"); err != nil {
						t.Error(err)
					}
					s.dead(t, out)
					s.refused(t, out, refresh.ErrEnded)
					s.refused(t, all, refresh.ErrEnded)
					s.refresh(t, next)
				})
			})
		}
	}
}

// publisherFor is a Publisher that says for which issuers it publishes.
type publisherFor string

func (p publisherFor) Issuers() []string { return strings.Fields(string(p)) }

func (p publisherFor) Publish(context.Context, revoke.Event) (revoke.Receipt, error) {
	return revoke.Receipt{}, nil
}

func TestNewManagerRefuses(t *testing.T) {
	ring, _ := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	issuer, err := issue.NewIssuer(issue.Config{Issuer: issuerName, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	local, _ := revoke.NewList(revoke.Config{Local: true})
	fed, _ := revoke.NewList(revoke.Config{})
	short, _ := revoke.NewList(revoke.Config{Local: true, TokenLifetime: 30 * time.Minute})
	good := refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: local}
	for field, change := range map[string]func(*refresh.Config){
		"Issuer":                             func(c *refresh.Config) { c.Issuer = nil },
		"Store":                              func(c *refresh.Config) { c.Store = nil },
		"Revocations":                        func(c *refresh.Config) { c.Revocations = nil },
		"Publisher":                          func(c *refresh.Config) { c.Revocations = fed },
		"Publisher publishes":                func(c *refresh.Config) { c.Publisher = publisherFor(issuerName + "/") },
		"Publisher publishes for issuers []": func(c *refresh.Config) { c.Publisher = publisherFor("") },
		"TokenLifetime":                      func(c *refresh.Config) { c.Revocations = short },
		"MaxSessions":                        func(c *refresh.Config) { c.MaxSessions = 1001 },
		"Lifetimes.Access":                   func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Access = 16 * time.Minute },
		"Lifetimes.Idle":                     func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Idle = 25 * time.Hour },
		"Lifetimes.Absolute":                 func(c *refresh.Config) { c.Lifetimes = refresh.Consumer; c.Lifetimes.Absolute = 100 * 24 * time.Hour },
		"Lifetimes.Grace":                    func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.Grace = time.Hour },
		"Lifetimes.LateEvery":                func(c *refresh.Config) { c.Lifetimes = refresh.Web; c.Lifetimes.LateEvery = time.Minute },
	} {
		c := good
		change(&c)
		if _, err := refresh.NewManager(c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	m, err := refresh.NewManager(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	if _, err := m.Refresh(t.Context(), request("x")); !errors.Is(err, refresh.ErrClosed) {
		t.Error(err)
	}
}

// Invariant 10: no refresh token, access token or secret of one in
// the store, a log, an error or a printed grant.
func TestSecretsStaySecret(t *testing.T) {
	var log bytes.Buffer
	s := newSystem(t, func(c *refresh.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Lifetimes.Grace = time.Minute
	})
	g := s.login(t)
	next := s.refresh(t, g)
	last := s.refresh(t, s.refresh(t, next))
	var said strings.Builder
	for _, g := range []*refresh.Grant{g, next, last} {
		fmt.Fprintf(&said, "%v %+v %#v %s %q %x %v", g, *g, g, g, g, *g, []any{g, *g})
		b, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(b)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("grant", "grant", g, "value", *g, "in", struct{ G *refresh.Grant }{g})
	}
	s.fail = errors.New("bus down")
	for _, text := range []string{g.RefreshToken(), g.RefreshToken() + "x", g.RefreshToken()[:90]} {
		_, err := s.Refresh(t.Context(), request(text, byClient("other")))
		fmt.Fprintf(&said, "%v %+v %#v", err, err, err)
	}
	if err := s.Logout(t.Context(), g.SessionID); err == nil {
		t.Fatal("no error to look at")
	}
	stored := string(bytes.Join(s.store.saved, nil))
	if !strings.Contains(stored, `"seal"`) || !strings.Contains(log.String(), g.SessionID) || !strings.Contains(said.String(), g.SessionID) {
		t.Fatal("nothing was looked at")
	}
	for _, g := range []*refresh.Grant{g, next, last} {
		raw := strings.TrimPrefix(g.RefreshToken(), "htr1_")
		// Beyond the session id and the time, which are no secrets.
		for name, secret := range map[string]string{
			"refresh token": g.RefreshToken(), "family secret": raw[33:74], "generation secret": raw[76:], "access token": g.AccessToken(),
			"signature": g.AccessToken()[strings.LastIndexByte(g.AccessToken(), '.'):],
		} {
			for where, text := range map[string]string{"store": stored, "log": log.String(), "output": said.String()} {
				if strings.Contains(text, secret) {
					t.Errorf("a %s in the %s", name, where)
				}
			}
		}
	}
}

// As many sessions as an event can keep are kept.
func TestKeepAsManyAsAnEventTakes(t *testing.T) {
	s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = revoke.MaxKeep + 1 })
	var keep []string
	var last *refresh.Grant
	for range revoke.MaxKeep {
		last = s.login(t)
		keep = append(keep, last.SessionID)
	}
	lost := s.login(t)
	if g, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(keep...)); err != nil || g == nil {
		t.Fatal(g, err)
	}
	s.dead(t, lost)
	s.accepted(t, last)
	s.refresh(t, last)
}

// A call without a context panics, as everywhere, before anything of it is done: the Manager and
// the session go on.
func TestNilContext(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	var none context.Context
	for name, call := range map[string]func() error{
		"Login": func() error { _, err := s.Login(none, loginOf("user-1", time.Now())); return err },
		"Refresh": func() error {
			_, err := s.Refresh(none, request(g.RefreshToken()))
			return err
		},
		"Reauthenticate": func() error {
			_, err := s.Reauthenticate(none, g.SessionID, refresh.Login{AuthTime: time.Now()})
			return err
		},
		"Sessions":       func() error { _, err := s.Sessions(none, "user-1"); return err },
		"Logout":         func() error { return s.Logout(none, g.SessionID) },
		"LogoutToken":    func() error { return s.LogoutToken(none, g.RefreshToken(), "web") },
		"LogoutAll":      func() error { _, err := s.LogoutAll(none, "user-1"); return err },
		"DeleteSubject":  func() error { return s.DeleteSubject(none, "user-1") },
		"DeclareRestore": func() error { return s.DeclareRestore(none, time.Time{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = call()
		}()
	}
	s.refresh(t, g)
}
