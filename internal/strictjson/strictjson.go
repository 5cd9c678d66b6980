// Package strictjson reads JSON from outside the way security needs it: one
// object, no duplicate member names at any depth, valid UTF-8, nothing after it
// (RFC 8725 section 3.7, RFC 7515 section 10.12). It never uses struct tags, whose
// meaning depends on the build flags of the program that imports us.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrSyntax is matched by the error for input that is not one strict JSON object.
var ErrSyntax = errors.New("not strict JSON")

// maxDepth bounds nesting, whose cost a stranger would choose.
const maxDepth = 64

// tooDeep reports whether data nests deeper than maxDepth, strings aside.
func tooDeep(data []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}', c == ']':
			depth--
		}
	}
	return false
}

// A Value is one JSON value, valid as long as the bytes it was read from.
type Value struct {
	raw jsontext.Value
}

// Object calls member for each member of the object that data holds, in order.
// Names are unescaped, and nothing nests deeper than 64. An error of member ends the walk and is returned as it is.
func Object(data []byte, member func(name string, v Value) error) error {
	if tooDeep(data) {
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
		if err := member(name, Value{raw}); err != nil {
			return err
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return syntax(err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return fmt.Errorf("%w: data after the object", ErrSyntax)
	}
	return nil
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

// Raw returns the value's text. It aliases the input.
func (v Value) Raw() []byte { return v.raw }

// Kind returns the first byte of the value's kind: one of n f t " 0 { [.
func (v Value) Kind() byte {
	if v.raw == nil {
		return 0
	}
	return byte(v.raw.Kind())
}

// Text returns the string that v holds, unescaped.
func (v Value) Text() (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	// Without an escape the text stands between the quotes as it is.
	if inner := v.raw[1 : len(v.raw)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	b, err := jsontext.AppendUnquote(nil, v.raw)
	return string(b), err == nil
}

// Int returns the integer that v holds. A fraction or an exponent is none.
func (v Value) Int() (int64, bool) {
	if v.Kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	return n, err == nil
}

// Bool returns the boolean that v holds.
func (v Value) Bool() (value, ok bool) {
	k := v.Kind()
	return k == 't', k == 't' || k == 'f'
}

// Elements calls element for each element of the array that v holds. It reports
// whether v is an array.
func (v Value) Elements(element func(v Value) error) (bool, error) {
	if v.Kind() != '[' {
		return false, nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v.raw))
	if _, err := dec.ReadToken(); err != nil {
		return true, syntax(err)
	}
	for dec.PeekKind() != ']' {
		raw, err := dec.ReadValue()
		if err != nil {
			return true, syntax(err)
		}
		if err := element(Value{raw}); err != nil {
			return true, err
		}
	}
	return true, nil
}

// AppendText appends s to dst as a JSON string. It fails if s is not valid UTF-8.
func AppendText(dst []byte, s string) ([]byte, error) {
	return jsontext.AppendQuote(dst, s)
}
