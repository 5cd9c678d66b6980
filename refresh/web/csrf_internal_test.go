package web

import (
	"bytes"
	"testing"
)

// The MAC is over the session id with its length: what moves from the id to the salt makes
// another.
func TestCSRFMACIsUnambiguous(t *testing.T) {
	k, err := newCSRFKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(k.mac("ab", []byte("c")), k.mac("a", []byte("bc"))) {
		t.Error("an id and a salt are read as another id and another salt")
	}
	if !bytes.Equal(k.mac("ab", []byte("c")), k.mac("ab", []byte("c"))) {
		t.Error("the MAC is not the same twice")
	}
	if !k.check("sid", k.make("sid")) || k.check("si", k.make("sid")) || k.check("", k.make("")) || csrfKey(nil).check("sid", k.make("sid")) {
		t.Error("a token is not good for its session alone")
	}
}
