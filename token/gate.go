package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// Bounds on one token, in bytes.
const (
	defaultTokenBytes = 8 << 10
	maxTokenBytes     = 64 << 10
	maxKeyIDBytes     = 512
	maxHeaderBytes    = 4 << 10 // decoded; it is read before any key is asked
)

// parts are the three segments of a token in compact form. The bytes that the
// signature covers are the bytes that payload was decoded from.
type parts struct {
	signed    []byte // header and payload with the dot between, as received
	header    []byte // decoded
	payload   []byte // decoded
	signature []byte // decoded
}

// segment decodes what inAlphabet has let through; alone it would skip CR and LF.
var segment = base64.RawURLEncoding.Strict()

// split takes raw apart: at most limit bytes, exactly three segments, none empty,
// each strict base64url: no padding, no other alphabet, no white space, no stray
// bits at the end (RFC 7515 section 2, RFC 4648 section 3.5). So a token has one
// spelling, and JSON serialisation and JWE never get past here.
func split(raw string, limit int) (parts, error) {
	if len(raw) > limit {
		return parts{}, fmt.Errorf("token: %w: %d bytes, more than %d", ErrTooLarge, len(raw), limit)
	}
	var dots [2]int
	n := 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '.' && n == len(dots):
			return parts{}, malformed("more than three segments")
		case c == '.':
			dots[n] = i
			n++
		case !inAlphabet[c]:
			return parts{}, malformed("a byte outside of base64url")
		}
	}
	if n != len(dots) {
		return parts{}, malformed("fewer than three segments")
	}
	header, payload, signature := raw[:dots[0]], raw[dots[0]+1:dots[1]], raw[dots[1]+1:]
	if header == "" || payload == "" || signature == "" {
		return parts{}, malformed("an empty segment")
	}
	if base64.RawURLEncoding.DecodedLen(len(header)) > maxHeaderBytes {
		return parts{}, fmt.Errorf("token: %w: header of more than %d bytes", ErrTooLarge, maxHeaderBytes)
	}
	p := parts{signed: []byte(raw[:dots[1]])}
	for _, s := range []struct {
		dst  *[]byte
		text string
	}{{&p.header, header}, {&p.payload, payload}, {&p.signature, signature}} {
		var err error
		if *s.dst, err = segment.DecodeString(s.text); err != nil {
			return parts{}, malformed("a segment is not canonical base64url") // err may quote it
		}
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
			h.alg, hasAlg = Algorithm(alg), true
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
		return header{}, fmt.Errorf("token: %w: header: %w", ErrMalformed, err)
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
	return fmt.Errorf("token: %w: %s", ErrMalformed, what)
}
