package refresh

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// A scripted store answers each write as the next word says, and then confirms all.
type scripted struct {
	Store
	words []string
	loads int
}

func (s *scripted) Load(ctx context.Context, key string) (Record, error) {
	s.loads++
	return s.Store.Load(ctx, key)
}

func (s *scripted) Save(ctx context.Context, key string, value []byte, revision uint64, expires time.Time) (uint64, error) {
	if len(s.words) == 0 {
		return s.Store.Save(ctx, key, value, revision, expires)
	}
	word := s.words[0]
	s.words = s.words[1:]
	switch word {
	case "lost": // the write is not done, and not confirmed
	case "overtaken", "overtaken, lost": // another one came first
		r, err := s.Store.Load(ctx, key)
		if err != nil {
			return 0, err
		}
		if _, err := s.Store.Save(ctx, key, r.Value, r.Revision, expires); err != nil {
			return 0, err
		}
		if word == "overtaken" {
			return 0, ErrConflict
		}
	case "done": // and not confirmed
		if _, err := s.Store.Save(ctx, key, value, revision, expires); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("no answer")
}

// An update finds out whether its write landed, and writes no second time what it has written.
func TestUpdate(t *testing.T) {
	landed := func(found, written *subject) error {
		if found.Cutoff != written.Cutoff {
			return ErrConflict
		}
		return nil
	}
	nobodyKnows := func(*subject, *subject) error { return errors.New("nobody knows") }
	for name, c := range map[string]struct {
		store  []string
		landed func(found, written *subject) error
		repeat bool
		want   error
		adds   int64 // that were written, each of which changes the record
		tries  int
	}{
		"confirmed":                       {nil, landed, false, nil, 1, 1},
		"overtaken":                       {[]string{"overtaken"}, landed, false, nil, 1, 2},
		"overtaken all the time":          {slices.Repeat([]string{"overtaken"}, maxTries), landed, false, ErrBusy, 0, maxTries},
		"done":                            {[]string{"done"}, landed, false, nil, 1, 1},
		"done, and nobody asks":           {[]string{"done"}, nil, false, errUnsure, 1, 1},
		"done, and nobody can tell":       {[]string{"done"}, nobodyKnows, false, errUnsure, 1, 1},
		"lost":                            {[]string{"lost"}, landed, false, errUnsure, 0, 1},
		"overtaken and lost":              {[]string{"overtaken, lost"}, landed, false, nil, 1, 2},
		"overtaken and lost, nobody asks": {[]string{"overtaken, lost"}, nil, false, errUnsure, 0, 1},
		"lost, repeated":                  {[]string{"lost", "overtaken", "lost"}, nil, true, nil, 1, 4},
		"lost for ever, repeated":         {slices.Repeat([]string{"lost"}, maxTries), nil, true, errUnsure, 0, maxTries},
	} {
		t.Run(name, func(t *testing.T) {
			m := instances(t, Web, 0)[0]
			if err := m.save(t.Context(), &subject{V: recordVersion, Cutoff: 1, place: place{key: "u.x"}}); err != nil {
				t.Fatal(err)
			}
			load := func(ctx context.Context) (*subject, error) {
				return loadOr(ctx, m, "u.x", "a subject", &subject{V: recordVersion}, decodeSubject)
			}
			store := &scripted{Store: m.cfg.Store, words: c.store}
			m.cfg.Store = store
			tries := 0
			got, err := update[*subject]{
				load: load,
				change: func(s *subject) (*subject, error) {
					tries++
					next := *s
					next.Cutoff++
					return &next, nil
				},
				landed: c.landed, repeat: c.repeat,
			}.do(t.Context(), m)
			if !errors.Is(err, c.want) || err != nil && !errors.Is(err, ErrTryAgain) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			is, failed := load(t.Context())
			if failed != nil {
				t.Fatal(failed)
			}
			if is.Cutoff != 1+c.adds || tries != c.tries {
				t.Errorf("%d written in %d tries, want %d in %d", is.Cutoff-1, tries, c.adds, c.tries)
			}
			if err == nil && (got.Cutoff != is.Cutoff || got.place != is.place) {
				t.Errorf("got %+v, the store holds %+v", got, is)
			}
		})
	}
}

// What the update has read tells nothing of its write if it cannot be read again.
func TestUpdateThatCannotBeReadAgain(t *testing.T) {
	m := instances(t, Web, 0)[0]
	first := &subject{V: recordVersion, place: place{key: "u.x"}}
	m.cfg.Store = &scripted{Store: m.cfg.Store, words: []string{"done"}}
	_, err := update[*subject]{
		load: beginning(first, func(context.Context) (*subject, error) { return nil, ErrStore }),
		change: func(s *subject) (*subject, error) {
			next := *s
			return &next, nil
		},
		landed: func(*subject, *subject) error { return nil },
	}.do(t.Context(), m)
	if !errors.Is(err, errUnsure) {
		t.Errorf("error %v", err)
	}
}
