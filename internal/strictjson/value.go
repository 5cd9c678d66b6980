package strictjson

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A Value is one JSON value. It points into the text of its document.
type Value struct {
	raw string // valid JSON without white space around it
}

// JSON returns the value as it stands in the document.
func (v Value) JSON() string { return v.raw }

// Raw returns a copy of the value as it stands in the document.
func (v Value) Raw() []byte { return []byte(v.raw) }

// Kind returns the first byte of the value's kind: one of n f t " 0 { [, or 0 if
// there is no value.
func (v Value) Kind() byte {
	if v.raw == "" {
		return 0
	}
	if c := v.raw[0]; c != '-' && (c < '0' || c > '9') {
		return c
	}
	return '0'
}

// Text returns the string that v holds, unescaped.
func (v Value) Text() (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	return unquote(v.raw), true
}

// unquote returns what a valid JSON string stands for. Without an escape that is
// what stands between the quotes.
func unquote(quoted string) string {
	if inner := quoted[1 : len(quoted)-1]; strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	b, _ := jsontext.AppendUnquote(nil, quoted) // valid
	return string(b)
}

// Int returns the integer that v holds. A fraction or an exponent is none.
func (v Value) Int() (int64, bool) {
	if v.Kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(v.raw, 10, 64)
	return n, err == nil
}

// maxExact is the largest integer up to which a double holds every one: 2⁵³ − 1.
const maxExact = 1<<53 - 1

// Integer returns the integer that v is, however it is written: 17e2 and 1700.0 are
// 1700. It takes those that a double holds exactly, from −(2⁵³ − 1) to 2⁵³ − 1, so that
// readers who have nothing but doubles agree.
func (v Value) Integer() (int64, bool) {
	if v.Kind() != '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(v.raw, 10, 64)
	if err != nil {
		f, err := strconv.ParseFloat(v.raw, 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > maxExact {
			return 0, false
		}
		n = int64(f)
	}
	if n < -maxExact || n > maxExact {
		return 0, false
	}
	return n, true
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
	for i := skipSpace(v.raw, 1); v.raw[i] != ']'; {
		end := endOfValue(v.raw, i)
		if err := element(Value{v.raw[i:end]}); err != nil {
			return true, err
		}
		i = skipComma(v.raw, end)
	}
	return true, nil
}
