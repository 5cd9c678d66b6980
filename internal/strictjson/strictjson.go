// Package strictjson reads JSON from outside the way security needs it: one
// object, no duplicate member names at any depth, valid UTF-8, nothing after it
// (RFC 8725 section 3.7, RFC 7515 section 10.12). It never uses struct tags, whose
// meaning depends on the build flags of the program that imports us.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrSyntax is matched by the error for input that is not one strict JSON object.
var ErrSyntax = errors.New("not strict JSON")

// maxDepth bounds nesting, whose cost a stranger would choose.
const maxDepth = 64

// tooDeep reports whether data nests deeper than most, strings aside.
func tooDeep(data []byte, most int) bool {
	if bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("[")) <= most {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// Object calls member for each member of the object that data holds, in order.
// Names are unescaped, and nothing nests deeper than 64. An error of member ends the walk and is returned as it is.
func Object(data []byte, member func(name string, v Value) error) error {
	if !valid(data) {
		return object(data, member)
	}
	for it := members(string(data)); it.next(); {
		if err := member(it.name, it.value); err != nil {
			return err
		}
	}
	return nil
}

// A Member is one member of an object, its name unescaped.
type Member struct {
	Name  string
	Value Value
}

// Members appends the members of the object that data holds to dst, in order. They
// point into text, which is a copy of data. It accepts what [Object] does.
func Members(dst []Member, data []byte) (text string, all []Member, err error) {
	if !valid(data) {
		return "", dst, object(data, func(string, Value) error { return nil })
	}
	text = string(data)
	for it := members(text); it.next(); {
		dst = append(dst, Member{it.name, it.value})
	}
	return text, dst, nil
}

// valid reports whether data is one strict JSON object. One call of the library is
// some three times as fast as a walk over the tokens.
func valid(data []byte) bool {
	return !tooDeep(data, maxDepth) && jsontext.Value(data).Kind() == '{' && jsontext.Value(data).IsValid()
}

// object is Object for data that is not valid: it finds out where, and hands over
// what stands before that.
func object(data []byte, member func(name string, v Value) error) error {
	if tooDeep(data, maxDepth) {
		return fmt.Errorf("%w: nested too deeply", ErrSyntax)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data)) // a *bytes.Buffer is read in place
	tok, err := dec.ReadToken()
	if err != nil {
		return syntax(err)
	}
	if tok.Kind() != '{' {
		return fmt.Errorf("%w: not an object", ErrSyntax)
	}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return syntax(err)
		}
		name := tok.String()
		raw, err := dec.ReadValue()
		if err != nil {
			return syntax(err)
		}
		if err := member(name, Value{string(raw)}); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntax(err)
	}
	return fmt.Errorf("%w: data after the object", ErrSyntax)
}

// syntax hides the library's error, which may quote the input, behind ErrSyntax.
func syntax(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return fmt.Errorf("%w: duplicate member name", ErrSyntax)
	}
	if s := (*jsontext.SyntacticError)(nil); errors.As(err, &s) {
		return fmt.Errorf("%w: at byte %d", ErrSyntax, s.ByteOffset)
	}
	return fmt.Errorf("%w: ends early", ErrSyntax)
}

// AppendText appends s to dst as a JSON string. It fails if s is not valid UTF-8.
func AppendText(dst []byte, s string) ([]byte, error) {
	return jsontext.AppendQuote(dst, s)
}
