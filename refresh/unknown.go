package refresh

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// Two versions of the package may share a store, so that a program keeps what it does not
// know: each object of a record carries the members that another version has added, and is
// written back with them. Three rules bind anyone who adds one.
//
//   - A member that must not be ignored is named in the list "must" of its object. A
//     program that does not know it issues no token and convicts nobody by such a record,
//     and ends sessions as ever.
//   - A member that says something of one generation, or of one logout everywhere, carries
//     its number, or its Op: an older program goes on to the next and leaves the member as it is.
//   - Of a session that is over only members named in "must" are kept, and those not in steps.

// maxUnknownBytes bounds what one record holds of it. One with more is not understood.
const maxUnknownBytes = 4 << 10

// An unknown is what an object of a record holds beside what this version knows.
type unknown struct {
	Must []string `json:"must,omitempty"`

	kept []kept
}

// A kept is a member of an object: its name, and its value in JSON.
type kept struct{ name, value string }

// names are what this version knows in an object of that type, and whether null may be
// their value: it stands for an empty list where an empty list is not left out.
func names(of any) map[string]bool {
	known := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" {
			known[name] = f.Type.Kind() == reflect.Slice && options == ""
		}
	}
	return known
}

var (
	sessionNames = names(session{})
	stepNames    = names(step{})
	subjectNames = names(subject{})
	liveNames    = names(live{})
)

// read decodes an object into a struct without methods, which u is part of.
func (u *unknown) read(data []byte, into any, known map[string]bool) error {
	var rest []kept
	if err := strictjson.Object(data, func(name string, v strictjson.Value) error {
		null, ok := known[name]
		switch {
		case ok && v.Kind() == 'n' && !null:
			return fmt.Errorf("member %q is null", name)
		case ok:
			return nil
		}
		for like := range known {
			if strings.EqualFold(name, like) { // package json would take it for that one
				return fmt.Errorf("member %q, which is not %q", name, like)
			}
		}
		rest = append(rest, kept{name, v.JSON()})
		return nil
	}); err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return err
	}
	u.kept = rest
	return nil
}

// write encodes a struct without methods, which u is part of.
func (u *unknown) write(r any) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return u.add(b)
}

// add adds what is kept to an encoded object.
func (u *unknown) add(b []byte) ([]byte, error) {
	for _, x := range u.kept {
		name, err := json.Marshal(x.name)
		if err != nil {
			return nil, err
		}
		if b = b[:len(b)-1]; len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(append(b, name...), ':'), x.value...), '}')
	}
	return b, nil
}

// bytes is what counts towards [maxUnknownBytes].
func (u *unknown) bytes() (n int) {
	for _, x := range u.kept {
		n += len(x.name) + len(x.value)
	}
	for _, name := range u.Must {
		n += len(name)
	}
	return n
}

// demands returns a member that must not be ignored and that this version does not know.
func (u *unknown) demands(known map[string]bool) (name string, ok bool) {
	for _, name := range u.Must {
		if _, ok := known[name]; !ok {
			return name, true
		}
	}
	return "", false
}

// must returns what of u must not be ignored.
func (u *unknown) must() unknown {
	m := unknown{Must: u.Must}
	for _, x := range u.kept {
		if slices.Contains(u.Must, x.name) {
			m.kept = append(m.kept, x)
		}
	}
	return m
}

func (s *session) UnmarshalJSON(data []byte) error {
	type plain session
	return s.read(data, (*plain)(s), sessionNames)
}

func (s *session) MarshalJSON() ([]byte, error) {
	type plain session
	return s.write((*plain)(s))
}

func (s *step) UnmarshalJSON(data []byte) error {
	type plain step
	return s.read(data, (*plain)(s), stepNames)
}

func (s step) MarshalJSON() ([]byte, error) {
	type plain step
	return s.write((*plain)(&s))
}

func (s *subject) UnmarshalJSON(data []byte) error {
	type plain subject
	return s.read(data, (*plain)(s), subjectNames)
}

func (s *subject) MarshalJSON() ([]byte, error) {
	type plain subject
	return s.write((*plain)(s))
}

// UnmarshalJSON decodes by hand: a list may have a thousand of them, and is read at each
// refresh.
func (l *live) UnmarshalJSON(data []byte) error {
	*l = live{}
	return strictjson.Object(data, func(name string, v strictjson.Value) (err error) {
		ok := true
		switch name {
		case "s":
			l.SID, ok = v.Text()
		case "u":
			l.Until, ok = v.Int()
		case "must":
			if v.Kind() != '[' {
				return fmt.Errorf("member %q is no list", name)
			}
			err = json.Unmarshal(v.Raw(), &l.Must)
		default:
			l.kept = append(l.kept, kept{name, v.JSON()})
		}
		if !ok {
			err = fmt.Errorf("member %q of a session in a list is %s", name, v.JSON())
		}
		return err
	})
}

func (l live) MarshalJSON() ([]byte, error) {
	if _, ok := parseSID(l.SID); ok && len(l.Must) == 0 { // nothing to be escaped
		b := append(append(make([]byte, 0, 64), `{"s":"`...), l.SID...)
		b = append(strconv.AppendInt(append(b, `","u":`...), l.Until, 10), '}')
		return l.add(b)
	}
	type plain live
	return l.write((*plain)(&l))
}

// bytes is what the whole record holds that this version does not know.
func (s *session) bytes() int {
	n := s.unknown.bytes()
	for i := range s.Steps {
		n += s.Steps[i].bytes()
	}
	return n
}

func (s *subject) bytes() int {
	n := s.unknown.bytes()
	for _, list := range [][]live{s.Live, s.Ending} {
		for i := range list {
			n += list[i].bytes()
		}
	}
	return n
}

// understood returns an error of ErrStore for a record by which this version must issue
// no token and convict nobody.
func (s *session) understood() error {
	name, ok := s.demands(sessionNames)
	for i := range s.Steps {
		if !ok {
			name, ok = s.Steps[i].demands(stepNames)
		}
	}
	return notUnderstood("session", name, ok)
}

func (s *subject) understood() error {
	name, ok := s.demands(subjectNames)
	for _, list := range [][]live{s.Live, s.Ending} {
		for i := range list {
			if !ok {
				name, ok = list[i].demands(liveNames)
			}
		}
	}
	return notUnderstood("subject", name, ok)
}

func notUnderstood(record, name string, found bool) error {
	if !found {
		return nil
	}
	return fmt.Errorf("%w: the record of a %s must be read with its member %q, which this version does not know", errNotUnderstood, record, name)
}

var errNotUnderstood error = &member{ErrStore, ErrStore.Error()}
