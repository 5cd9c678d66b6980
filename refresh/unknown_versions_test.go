package refresh_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A newer is a version that has added the member "grade" to each object of its records,
// seen from its own Manager, which does not meet it: it is taken out of what is loaded, and
// counted up in what is saved.
type newer struct {
	refresh.Store
	t    *testing.T
	must string // in which objects it must not be ignored: session, steps, subject or live

	mu      sync.Mutex
	grades  map[string]int // of every object that it has written, by key and what tells it from others
	met     int            // how often it met one again
	missing []string
}

// objects calls do for each object of a record, with what tells it from its siblings.
func objects(r map[string]any, do func(id string, o map[string]any)) {
	do("", r)
	for list, tells := range map[string]string{"steps": "hash", "live": "s", "ending": "s"} {
		elements, _ := r[list].([]any)
		for _, e := range elements {
			o := e.(map[string]any)
			do(list+"/"+o[tells].(string), o)
		}
	}
}

// marks reports whether the object's grade must not be ignored.
func (n *newer) marks(key, id string) bool {
	list, _, _ := strings.Cut(id, "/")
	switch {
	case list == "" && key[0] == 's':
		list = "session"
	case list == "" && key[0] == 'u':
		list = "subject"
	}
	return list != "" && list == n.must
}

func (n *newer) edit(value []byte, do func(id string, o map[string]any)) []byte {
	var r map[string]any
	d := json.NewDecoder(strings.NewReader(string(value)))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		n.t.Error(err)
		return value
	}
	objects(r, do)
	out, err := json.Marshal(r)
	if err != nil {
		n.t.Error(err)
	}
	return out
}

func (n *newer) Load(ctx context.Context, key string) (refresh.Record, error) {
	r, err := n.Store.Load(ctx, key)
	if err != nil {
		return r, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	ended := strings.Contains(string(r.Value), `"ended":`)
	r.Value = n.edit(r.Value, func(id string, o map[string]any) {
		want, wrote := n.grades[key+id]
		got, found := o["grade"]
		switch {
		case wrote && found && got != json.Number(fmt.Sprint(want)):
			n.missing = append(n.missing, fmt.Sprintf("%s%s: grade %v, was %d", key, id, got, want))
		case wrote && !found && (!ended || n.marks(key, id)):
			n.missing = append(n.missing, key+id)
		case wrote && found:
			n.met++
		}
		delete(o, "grade")
		delete(o, "must")
	})
	return r, nil
}

func (n *newer) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	grades := map[string]int{}
	out := n.edit(value, func(id string, o map[string]any) {
		grades[key+id] = n.grades[key+id] + 1
		o["grade"] = grades[key+id]
		if n.marks(key, id) {
			o["must"] = []string{"grade"}
		}
	})
	rev, err := n.Store.Save(ctx, key, out, revision, expires)
	if err == nil {
		for id, g := range grades {
			n.grades[id] = g
		}
	}
	return rev, err
}

// twoVersions are Managers on one store: of this version, and of one that has added
// members. Each is also what the other cannot tell from itself.
func twoVersions(t *testing.T, must string) (older, younger *system, n *newer) {
	store := refresh.NewMemoryStore()
	n = &newer{Store: store, t: t, must: must, grades: map[string]int{}}
	older = newSystem(t, func(c *refresh.Config) { c.Store = store })
	younger = newSystem(t, func(c *refresh.Config) { c.Store = n })
	return older, younger, n
}

// Two versions of a service run side by side while one replaces the other, so that each
// reads and writes what the other has written. Neither loses what only the other knows,
// and no user is told to try again for it.
func TestTwoRecordVersionsSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		older, younger, n := twoVersions(t, "")
		turns := []*system{younger, older, older, younger, younger, older}
		g := younger.login(t)
		other := older.login(t)
		for i, s := range turns { // a session goes back and forth, its retries too
			time.Sleep(time.Second)
			next := s.refresh(t, g)
			if retry := turns[(i+1)%len(turns)].refresh(t, g); retry.SessionID != next.SessionID {
				t.Fatal("another session")
			}
			g = next
		}
		for i, s := range turns {
			list, err := s.Sessions(t.Context(), "user-1")
			if err != nil || len(list) != 2 {
				t.Fatalf("%v, %v", list, err)
			}
			other = s.refresh(t, other)
			third := turns[len(turns)-1-i].login(t)
			if err := s.Logout(t.Context(), third.SessionID); err != nil {
				t.Fatal(err)
			}
			again, err := s.Reauthenticate(t.Context(), g.SessionID, refresh.Login{AuthTime: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			g = again
		}
		for _, s := range turns {
			time.Sleep(time.Second)
			kept, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(g.SessionID))
			if err != nil || kept == nil {
				t.Fatal(err)
			}
			g = kept
			l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now().Add(-500 * time.Millisecond)}
			for _, s := range turns {
				if _, err := s.Login(t.Context(), l); !errors.Is(err, refresh.ErrSuperseded) {
					t.Fatalf("a login from before a logout everywhere: %v", err)
				}
			}
		}
		older.refused(t, other, refresh.ErrEnded)
		old := g
		g = younger.refresh(t, g)
		time.Sleep(time.Minute)
		older.refused(t, old, refresh.ErrReused) // each finds the other's replays
		younger.refused(t, g, refresh.ErrEnded)
		if len(n.missing) > 0 {
			t.Errorf("the version that has added members misses %d: %q", len(n.missing), n.missing)
		}
		if n.met < 50 {
			t.Errorf("it met only %d of what it wrote", n.met)
		}
	})
}

// What must not be ignored is not: a program that does not know such a member, in any
// object of a record, issues no token by that record and convicts nobody, and ends its
// sessions as ever.
func TestMemberThatMustNotBeIgnored(t *testing.T) {
	for where, subject := range map[string]bool{"session": false, "steps": false, "subject": true, "live": true} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { mustNotBeIgnored(t, where, subject) })
		})
	}
}

func mustNotBeIgnored(t *testing.T, where string, subject bool) {
	older, younger, n := twoVersions(t, where)
	g, second := younger.login(t), younger.login(t)
	time.Sleep(time.Minute)
	old, first := g, second
	g, second = younger.refresh(t, g), younger.refresh(t, second)
	older.refused(t, old, refresh.ErrStore) // in the window
	older.refused(t, g, refresh.ErrStore)
	if where == "session" {
		time.Sleep(time.Minute)
		older.refused(t, old, refresh.ErrStore) // a replay, by what this version knows
	}
	older.refused(t, g, refresh.ErrStore)
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now()}
	if subject {
		if _, err := older.Login(t.Context(), l); !errors.Is(err, refresh.ErrStore) || errors.Is(err, refresh.ErrLoginAgain) {
			t.Errorf("a login: %v", err)
		}
	}
	if _, err := older.Reauthenticate(t.Context(), second.SessionID, refresh.Login{AuthTime: time.Now()}); !errors.Is(err, refresh.ErrStore) {
		t.Errorf("authenticated again: %v", err)
	}
	if list, err := older.Sessions(t.Context(), "user-1"); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	second = younger.refresh(t, second) // nothing was changed
	g = younger.refresh(t, g)

	if kept, err := older.LogoutAll(t.Context(), "user-1", refresh.Keep(g.SessionID)); !subject && (kept != nil || !errors.Is(err, refresh.ErrStore)) {
		t.Errorf("a new grant for a session that is not understood: %v, %v", kept, err)
	} else if subject {
		g = kept
	}
	younger.refused(t, second, refresh.ErrEnded)
	if where != "steps" { // of a session that is over no steps are kept
		older.refused(t, first, refresh.ErrEnded)
	}
	g = younger.refresh(t, g) // it was kept all the same
	if err := older.Logout(t.Context(), g.SessionID); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(older.events, func(e revoke.Event) bool { return e.Value == g.SessionID }) {
		t.Error("its end was not published")
	}
	younger.refused(t, g, refresh.ErrEnded)
	older.refused(t, g, refresh.ErrEnded)
	if len(n.missing) > 0 {
		t.Errorf("the version that has added members misses %d: %q", len(n.missing), n.missing)
	}
}

// An edited store shows records otherwise than they are.
type edited struct {
	refresh.Store
	mu   sync.Mutex
	edit func(key string, value []byte) []byte
}

func (e *edited) Load(ctx context.Context, key string) (refresh.Record, error) {
	r, err := e.Store.Load(ctx, key)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && e.edit != nil {
		r.Value = e.edit(key, r.Value)
	}
	return r, err
}

// What a record says of one member may be damaged, or be of a version to come. The answer
// is an error or a grant, never a user logged out by a record that nobody can read, and a logout
// everywhere is not forgotten.
func TestRecordsWithOneBadMember(t *testing.T) {
	values := []string{`null`, `true`, `"x"`, `""`, `-1`, `0.5`, `1e3`, `0`, `99999999999999999999`, `{}`, `{"x":1}`, `[]`, `[null]`, `["x"]`, `[{}]`, `[{"s":"x","u":1}]`, `"` + strings.Repeat("x", 1<<10) + `"`}
	bad := 0
	for _, kind := range []string{"s", "u"} {
		for _, what := range []string{"value", "twice", "gone", "capitals", "shadowed", "truncated"} {
			for i := 0; ; i++ { // the i-th member
				vs := values
				if what != "value" {
					vs = values[:1]
				}
				name := ""
				for _, v := range vs {
					synctest.Test(t, func(t *testing.T) {
						name = badMember(t, kind, i, what, v)
					})
					bad++
				}
				if name == "" {
					break
				}
			}
		}
		for _, whole := range []string{``, ` `, `null`, `[]`, `{}`, `{"v":1}`, `{"v":2}`, `{"v":"1"}`, `{"v":1.0}`, `{"V":1}`, `{"v":1}{"v":1}`, "\xff", `{"v":1,"sid":"x"}`} {
			synctest.Test(t, func(t *testing.T) {
				badRecord(t, kind, whole, func([]byte) []byte { return []byte(whole) }, func() bool { return whole == `{"v":1}` })
			})
			bad++
		}
	}
	if bad < 400 {
		t.Errorf("only %d rows", bad)
	}
}

// badMember makes the i-th member of a record bad and returns its name, or nothing if
// there is none.
func badMember(t *testing.T, kind string, i int, what, value string) (name string) {
	edit := func(record []byte) []byte {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(record, &m); err != nil {
			t.Fatal(err)
		}
		var order []string
		d := json.NewDecoder(strings.NewReader(string(record)))
		_, _ = d.Token()
		for d.More() {
			key, _ := d.Token()
			var v json.RawMessage
			_ = d.Decode(&v)
			order = append(order, key.(string))
		}
		if name == "" && i < len(order) {
			name = order[i]
		}
		if _, ok := m[name]; !ok {
			return record // it was written anew without
		}
		part := fmt.Sprintf("%q:%s", name, m[name])
		other := ""
		switch what {
		case "value":
			other = fmt.Sprintf("%q:%s", name, value)
		case "twice":
			other = part + "," + part
		case "gone":
			other = `"x":1`
		case "capitals":
			other = fmt.Sprintf("%q:%s", strings.ToUpper(name), m[name])
		case "shadowed":
			other = fmt.Sprintf("%s,%q:0", part, strings.ToUpper(name))
		case "truncated":
			return []byte(strings.SplitAfter(string(record), part)[0])
		}
		return []byte(strings.Replace(string(record), part, other, 1))
	}
	badRecord(t, kind, what+" "+value, edit, func() bool { return name == "cutoff" && (what == "gone" || value == "0") })
	return name
}

// badRecord runs every operation on records that were made bad so. With lossy nobody can
// tell that there ever was a cutoff.
func badRecord(t *testing.T, kind, row string, edit func([]byte) []byte, lossy func() bool) {
	store := &edited{Store: refresh.NewMemoryStore()}
	s := newSystem(t, func(c *refresh.Config) { c.Store = store })
	ended, kept := s.login(t), s.login(t)
	before := time.Now()
	time.Sleep(time.Second)
	kept, err := s.LogoutAll(t.Context(), "user-1", refresh.Keep(kept.SessionID))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	live := s.login(t)
	live = s.refresh(t, live)
	var rows []string
	store.edit = func(key string, value []byte) []byte {
		if key[:1] != kind {
			return value
		}
		out := edit(value)
		rows = append(rows, string(out))
		return out
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s, %s: %s\n%q", kind, row, fmt.Sprintf(format, args...), rows)
	}
	family := func(err error, g *refresh.Grant, call string) {
		t.Helper()
		if (err == nil) == (g == nil) || err != nil && errors.Is(err, refresh.ErrTryAgain) == errors.Is(err, refresh.ErrLoginAgain) {
			fail("%s: %v, %v", call, g, err)
		}
	}
	for _, g := range []*refresh.Grant{live, kept, ended} {
		next, err := s.Refresh(t.Context(), request(g.RefreshToken()))
		family(err, next, "refresh")
		if g == ended && err == nil {
			fail("a session that was logged out goes on")
		}
	}
	l := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: before}
	g, err := s.Login(t.Context(), l)
	family(err, g, "login")
	if err == nil && !lossy() {
		fail("a login from before the logout everywhere passes")
	}
	_, _ = s.Sessions(t.Context(), "user-1")
	if err := s.Logout(t.Context(), live.SessionID); err != nil && !errors.Is(err, refresh.ErrTryAgain) {
		fail("logout: %v", err)
	}
	if _, err := s.LogoutAll(t.Context(), "user-1"); err != nil && !errors.Is(err, refresh.ErrTryAgain) {
		fail("logout everywhere: %v", err)
	}
}
