package token

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// Bounds on one token, in bytes.
const (
	maxKeyIDBytes  = 512
	maxHeaderBytes = 4 << 10 // decoded; it is read before any key is asked
)

// segments are the three segments of a token in compact form, as received.
type segments struct {
	signed                     string // header and payload with the dot between
	header, payload, signature string
}

// cut takes raw apart: at most limit bytes, exactly three segments, none empty. So
// JSON serialisation and JWE never get past here.
func cut(raw string, limit int) (s segments, err error) {
	if err := fits(len(raw), limit); err != nil {
		return s, err
	}
	first := strings.IndexByte(raw, '.')
	second := strings.IndexByte(raw[first+1:], '.') + first + 1
	switch {
	case first < 0, second == first:
		return s, malformed("fewer than three segments")
	case strings.IndexByte(raw[second+1:], '.') >= 0:
		return s, malformed("more than three segments")
	}
	s = segments{signed: raw[:second], header: raw[:first], payload: raw[first+1 : second], signature: raw[second+1:]}
	if s.header == "" || s.payload == "" || s.signature == "" {
		return segments{}, malformed("an empty segment")
	}
	return s, nil
}

// fits refuses a token of more than limit bytes.
func fits(bytes, limit int) error {
	if bytes > limit {
		return fmt.Errorf("token: %w: %d bytes, more than %d", ErrTooLarge, bytes, limit)
	}
	return nil
}

// parts are the segments of a token, decoded. The bytes that the signature covers
// are the bytes that payload was decoded from.
type parts struct {
	signed    []byte // header and payload with the dot between, as received
	header    []byte
	payload   []byte
	signature []byte
}

// split takes raw apart and decodes the segments, see [scratch.decode].
func split(raw string, limit int) (parts, error) {
	s, err := cut(raw, limit)
	if err != nil {
		return parts{}, err
	}
	return new(scratch).decode(s, false)
}

// A scratch is memory for the parts of one token after another.
type scratch struct{ buf []byte }

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// segment decodes what holds no CR and LF; those alone it would skip.
var segment = base64.RawURLEncoding.Strict()

// decode decodes the segments of s, the header only unless it is known. Each is
// strict base64url: no padding, no other alphabet, no white space, no stray bits at
// the end (RFC 7515 section 2, RFC 4648 section 3.5). So a token has one spelling.
// The parts are good until the next call.
func (m *scratch) decode(s segments, headerKnown bool) (p parts, err error) {
	if segment.DecodedLen(len(s.header)) > maxHeaderBytes {
		return parts{}, fmt.Errorf("token: %w: header of more than %d bytes", ErrTooLarge, maxHeaderBytes)
	}
	// What is decoded, and behind it what it decodes to.
	m.buf = append(append(m.buf[:0], s.signed...), s.signature...)
	text := m.buf
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return parts{}, malformed("a byte outside of base64url")
	}
	m.buf = slices.Grow(m.buf, len(text))
	next := m.buf[len(text):cap(m.buf)]
	decode := func(text []byte) []byte {
		n, bad := segment.Decode(next, text)
		if bad != nil && err == nil {
			err = malformed("a segment is not canonical base64url") // bad may quote it
		}
		decoded := next[:n:n]
		next = next[n:]
		return decoded
	}
	p.signed = text[:len(s.signed):len(s.signed)]
	if !headerKnown {
		p.header = decode(text[:len(s.header)])
	}
	p.payload = decode(p.signed[len(s.header)+1:])
	p.signature = decode(text[len(s.signed):])
	if err != nil {
		return parts{}, err
	}
	return p, nil
}

var inAlphabet = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return
}()

// A header is what we use of a JOSE header.
type header struct {
	alg    Algorithm
	typ    string
	hasTyp bool
	kid    string // empty if there is none
}

// parseHeader reads a JOSE header: a strict JSON object. It refuses what would
// change the meaning of the rest: crit, which we understand nothing of (RFC 7515
// section 4.1.11), b64 (RFC 7797), zip and enc (RFC 7516). Other members, jwk,
// jku, x5u and x5c among them, are not looked at: a token does not choose the key
// that verifies it.
func parseHeader(data []byte) (header, error) {
	var h header
	hasAlg := false
	err := strictjson.Object(data, func(name string, v strictjson.Value) error {
		ok := true
		switch name {
		case "alg":
			var alg string
			alg, ok = v.Text()
			h.alg, hasAlg = Algorithm(alg).one(), true
		case "typ":
			h.typ, _ = v.Text() // anything else is no type that we know
			h.hasTyp = true
		case "kid":
			if h.kid, ok = v.Text(); ok && (h.kid == "" || len(h.kid) > maxKeyIDBytes) {
				return malformed("header kid is empty or too long")
			}
		case "crit", "b64", "zip", "enc":
			return malformed("header " + name + " is not supported")
		}
		if !ok {
			return malformed("header " + name + " is not a string")
		}
		return nil
	})
	switch {
	case errors.Is(err, strictjson.ErrSyntax):
		return header{}, fmt.Errorf("token: %w: header: %w", errMalformed, err)
	case err != nil:
		return header{}, err
	case !hasAlg:
		return header{}, malformed("header alg is missing")
	}
	return h, nil
}

// isAccessToken reports whether typ is that of RFC 9068 section 2.1. Media types
// compare without regard to case (RFC 7515 section 4.1.9, RFC 2045 section 5.1).
func isAccessToken(typ string) bool {
	return asciiEqualFold(typ, "at+jwt") || asciiEqualFold(typ, "application/at+jwt")
}

// asciiEqualFold is strings.EqualFold without its Unicode foldings, all of which
// change the length of an ASCII letter.
func asciiEqualFold(s, ascii string) bool {
	return len(s) == len(ascii) && strings.EqualFold(s, ascii)
}

func malformed(what string) error {
	return fmt.Errorf("token: %w: %s", errMalformed, what)
}
