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
)

// The application is asked at each refresh.
func TestAsk(t *testing.T) {
	var answer refresh.Answer
	var failure error
	var asked []refresh.Session
	s := newSystem(t, func(c *refresh.Config) {
		c.Ask = func(_ context.Context, x refresh.Session) (refresh.Answer, error) {
			asked = append(asked, x)
			return answer, failure
		}
	})
	g := s.login(t, func(l *refresh.Login) {
		l.Claims = map[string]any{"role": "admin"}
		l.Device = refresh.Device{Label: "phone"}
	})
	answer.Claims = map[string]any{"role": "guest"}
	g = s.refresh(t, g)
	if role, _ := s.accepted(t, g).Claim("role"); string(role) != `"guest"` {
		t.Errorf("role %s", role)
	}
	failure = errors.New("no database")
	s.refused(t, g, refresh.ErrAsk)
	failure, answer = nil, refresh.Answer{}
	g = s.refresh(t, g)
	answer = refresh.Answer{End: true, Reason: "disabled"}
	s.refused(t, g, refresh.ErrEnded)
	s.dead(t, g)
	if len(asked) != 4 || asked[0].ID != g.SessionID || asked[0].Device.Label != "phone" || asked[0].Subject != "user-1" {
		t.Errorf("asked about %v", asked)
	}
}

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

func TestReauthenticate(t *testing.T) {
	s := newSystem(t)
	old := s.login(t, func(l *refresh.Login) {
		l.Claims, l.ACR, l.Device = map[string]any{"role": "admin"}, "bronze", refresh.Device{Label: "phone"}
	})
	g, err := s.Reauthenticate(t.Context(), old.SessionID, refresh.Login{AuthTime: time.Now(), ACR: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	c := s.accepted(t, g)
	if role, _ := c.Claim("role"); g.SessionID == old.SessionID || c.ACR() != "gold" || c.Subject() != "user-1" || string(role) != `"admin"` || !c.HasScope("write") {
		t.Errorf("reauthenticated as %v", c)
	}
	s.dead(t, old)
	s.refused(t, old, refresh.ErrEnded)
	for want, l := range map[error]refresh.Login{
		refresh.ErrLogin: {Subject: "user-2", AuthTime: time.Now()},
		refresh.ErrEnded: {AuthTime: time.Now(), Client: "web"},
	} {
		sid := g.SessionID
		if want == refresh.ErrEnded {
			sid = old.SessionID
		}
		if _, err := s.Reauthenticate(t.Context(), sid, l); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	s.accepted(t, g)
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

// A session that an operator ends while its user is authenticated again has no heir.
func TestReauthenticateAnEndedOne(t *testing.T) {
	store := &endedMeanwhile{}
	s := newSystem(t, func(c *refresh.Config) { store.Store, c.Store = c.Store, store })
	g := s.login(t)
	store.end = func() {
		if err := s.Revoke(t.Context(), g.SessionID, "stolen laptop", "operator"); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrEnded) {
		t.Errorf("%v, want ErrEnded", err)
	}
	if left, err := s.Sessions(t.Context(), "user-1"); err != nil || len(left) != 0 {
		t.Errorf("sessions left: %v, %v", left, err)
	}
}

// Nor has one that somebody revoked on the bus.
func TestReauthenticateARevokedOne(t *testing.T) {
	s := newSystem(t)
	g := s.login(t)
	if err := s.list.Apply(revoke.Now(), revoke.Event{Issuer: issuerName, Kind: revoke.KindSession, Value: g.SessionID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrEnded) {
		t.Errorf("%v, want ErrEnded", err)
	}
}

// Who is to be logged out is the caller's word; what cannot be is the caller's mistake, of
// neither family that a client is told of.
func TestLogoutsThatCannotBe(t *testing.T) {
	s := newSystem(t)
	many := make([]string, revoke.MaxKeep+1)
	for name, call := range map[string]func() error{
		"Logout":              func() error { return s.Logout(t.Context(), "zzz") },
		"Revoke":              func() error { return s.Revoke(t.Context(), "", "reason", "") },
		"LogoutAll":           func() error { _, err := s.LogoutAll(t.Context(), ""); return err },
		"LogoutAll, too many": func() error { _, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(many...)); return err },
		"DeleteSubject":       func() error { return s.DeleteSubject(t.Context(), "") },
	} {
		if err := call(); !errors.Is(err, refresh.ErrRequest) || errors.Is(err, refresh.ErrTryAgain) || errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st := s.Status(); st.Logout.Mistakes["request"] != 1 || st.DeleteSubject.Mistakes["request"] != 1 || len(s.events) != 0 {
		t.Errorf("counted %v and %v, published %v", st.Logout, st.DeleteSubject, s.events)
	}
}

// A session ends with its last access token at the latest: the exp that is signed, not only
// the one in the Grant.
func TestNoTokenOutlivesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) {
			c.Lifetimes.Absolute, c.Lifetimes.Idle, c.Lifetimes.Access = 20*time.Minute, 20*time.Minute, 15*time.Minute
		})
		g := s.login(t)
		for range 3 {
			if exp := s.accepted(t, g).ExpiresAt(); exp.After(g.SessionExpires) || !exp.Equal(g.AccessExpires) {
				t.Errorf("exp %s, the session ends %s, the grant says %s", exp, g.SessionExpires, g.AccessExpires)
			}
			time.Sleep(6 * time.Minute)
			g = s.refresh(t, g)
		}
		if left := time.Until(s.accepted(t, g).ExpiresAt()); left > 2*time.Minute {
			t.Errorf("the last token lives for %s, the session for two minutes", left)
		}
	})
}

// A logout is no replay.
func TestLogoutsAreNoReplays(t *testing.T) {
	replays := 0
	s := newSystem(t, func(c *refresh.Config) { c.OnReplay = func(context.Context, refresh.Session) { replays++ } })
	kept, gone := s.login(t), s.login(t)
	if err := s.Logout(t.Context(), s.login(t).SessionID); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), s.login(t).SessionID, "stolen laptop", "operator"); err != nil {
		t.Fatal(err)
	}
	pending := s.login(t).SessionID
	s.fail = errors.New("bus down")
	if err := s.Logout(t.Context(), pending); !errors.Is(err, refresh.ErrPending) {
		t.Fatal(err)
	}
	s.fail = nil
	if err := s.Logout(t.Context(), pending); err != nil {
		t.Fatal(err)
	}
	if _, err := s.LogoutAll(t.Context(), gone.Subject, refresh.Keep(kept.SessionID)); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSubject(t.Context(), gone.Subject); err != nil {
		t.Fatal(err)
	}
	s.refused(t, gone, refresh.ErrEnded)
	if replays != 0 {
		t.Errorf("OnReplay was called %d times", replays)
	}
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

// Row K10: the devices page, and the limit of sessions.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, func(c *refresh.Config) { c.MaxSessions = 3 })
		var grants []*refresh.Grant
		for i := range 5 {
			grants = append(grants, s.login(t, func(l *refresh.Login) {
				l.Device = refresh.Device{Label: fmt.Sprint("device ", i), Address: "192.0.2.1"}
			}))
			time.Sleep(time.Second)
		}
		s.dead(t, grants[0])
		s.dead(t, grants[1])
		s.accepted(t, grants[2])
		s.refresh(t, grants[3], func(r *refresh.Request) { r.Device = refresh.Device{Label: "moved"} })
		list, err := s.Sessions(t.Context(), "user-1")
		if err != nil || len(list) != 3 || list[0].ID != grants[4].SessionID || list[1].Device.Label != "moved" || list[2].Device.Address != "192.0.2.1" ||
			!list[1].LastUsed.After(list[1].Created) || list[0].Client != "web" {
			t.Fatalf("%+v, %v", list, err)
		}
		if list, err := s.Sessions(t.Context(), "nobody"); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		time.Sleep(2 * time.Hour)
		if list, err := s.Sessions(t.Context(), "user-1"); err != nil || len(list) != 0 {
			t.Errorf("expired ones are shown: %v, %v", list, err)
		}
	})
}

func TestLoginRefusals(t *testing.T) {
	s := newSystem(t)
	good := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
	for field, change := range map[string]func(*refresh.Login){
		"Subject":     func(l *refresh.Login) { l.Subject = "" },
		"Client":      func(l *refresh.Login) { l.Client = "" },
		"Audience":    func(l *refresh.Login) { l.Audience = nil },
		"AuthTime":    func(l *refresh.Login) { l.AuthTime = time.Time{} },
		"future":      func(l *refresh.Login) { l.AuthTime = time.Now().Add(time.Minute) },
		"longer":      func(l *refresh.Login) { l.AuthTime = time.Now().Add(-25 * time.Hour) },
		"Subject has": func(l *refresh.Login) { l.Subject = strings.Repeat("x", 513) },
		"Client is":   func(l *refresh.Login) { l.Client = "caf\xe9" },
		"Tenant has":  func(l *refresh.Login) { l.Tenant = strings.Repeat("x", 513) },
		"Claims":      func(l *refresh.Login) { l.Claims = map[string]any{"x": strings.Repeat("x", 17<<10)} },
		// What no token can say: trying again, as ErrMint says, is useless.
		"Audience holds": func(l *refresh.Login) { l.Audience = []string{""} },
		"Scope holds":    func(l *refresh.Login) { l.Scope = []string{"read write"} },
		"Binding":        func(l *refresh.Login) { l.Binding = token.Binding{KeyThumbprint: "x"} },
		"claim iss":      func(l *refresh.Login) { l.Claims = map[string]any{"iss": "x"} },
		"MaxTokenBytes":  func(l *refresh.Login) { l.Claims = map[string]any{"x": strings.Repeat("x", 15<<10)} },
	} {
		l := good
		change(&l)
		refused := func(err error) bool {
			return errors.Is(err, refresh.ErrLogin) && strings.Contains(err.Error(), field) &&
				!errors.Is(err, refresh.ErrTryAgain) && !errors.Is(err, refresh.ErrLoginAgain)
		}
		if _, err := s.Login(t.Context(), l); !refused(err) {
			t.Errorf("%s: %v", field, err)
		}
		// No session is lost by it.
		g := s.login(t)
		if _, err := s.Reauthenticate(t.Context(), g.SessionID, l); !refused(err) && l.Subject == good.Subject && l.Client == good.Client && l.Audience != nil {
			t.Errorf("%s, in authenticating again: %v", field, err)
		} else if err != nil {
			s.refresh(t, g)
		}
	}
	if _, err := s.Login(t.Context(), good); err != nil {
		t.Error(err)
	}
	good.Subject, good.Client, good.Tenant = strings.Repeat("s", 512), strings.Repeat("c", 512), strings.Repeat("t", 512)
	if _, err := s.Login(t.Context(), good); err != nil {
		t.Error(err)
	}
}

// publisherFor is a Publisher that says for which issuers it publishes.
type publisherFor string

func (p publisherFor) Issuers() []string { return strings.Fields(string(p)) }

func (p publisherFor) Publish(context.Context, revoke.Event) (revoke.Receipt, error) {
	return revoke.Receipt{}, nil
}

func TestNewManagerRefuses(t *testing.T) {
	ring, _ := token.NewEphemeralKeyring(token.KeyringConfig{Algorithm: token.EdDSA})
	issuer, err := token.NewIssuer(token.IssuerConfig{Issuer: issuerName, Keys: ring})
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

// Rows K05 and N96, invariant 10: no refresh token, access token or secret of one in
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

// A call without a context is the caller's mistake, and no panic.
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
		if err := call(); err == nil || !strings.Contains(err.Error(), "nil context") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.refresh(t, g)
}
