package refresh

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

// A session of a list is read member by member: one of the wrong type makes the record one that is
// not understood, as does a list of pending work that is too long to have been written.
func TestMembersOfTheWrongTypeInLists(t *testing.T) {
	sid := sidText([16]byte{7})
	record := func(element string) []byte {
		return fmt.Appendf(nil, `{"v":1,"live":[%s],"op":"x","at":1,"ending":[%s]}`, element, element)
	}
	for element, good := range map[string]bool{
		`{"s":"` + sid + `","u":5}`:                    true,
		`{"s":"` + sid + `","u":0}`:                    true,
		`{"s":"` + sid + `","u":5,"must":[]}`:          true,
		`{"s":"` + sid + `","u":5,"must":["x"],"x":1}`: true,
		`{"s":"` + sid + `","u":-1}`:                   false,
		`{"s":"` + sid + `","u":"5"}`:                  false,
		`{"s":"` + sid + `","u":5.5}`:                  false,
		`{"s":"` + sid + `","u":null}`:                 false,
		`{"s":"` + sid + `","u":99999999999999999}`:    false,
		`{"s":1,"u":5}`:                                false,
		`{"s":null,"u":5}`:                             false,
		`{"s":"x","u":5}`:                              false,
		`{"u":5}`:                                      false,
		`{"s":"` + sid[:21] + `\n","u":5}`:             false,
		`{"s":"` + sid[:21] + `/","u":5}`:              false,
		`{"s":"` + sid[:21] + `B","u":5}`:              false, // bits that are none of the id's
		`{"s":"` + sid + `A","u":5}`:                   false,
		`{"s":"` + sid + `","u":5,"must":{}}`:          false,
		`{"s":"` + sid + `","u":5,"must":"x"}`:         false,
		`{"s":"` + sid + `","u":5,"must":null}`:        false,
		`{"s":"` + sid + `","u":5,"must":[1]}`:         false,
		`{"s":"` + sid + `","s":"` + sid + `","u":5}`:  false,
		`[]`: false,
	} {
		s, err := decodeSubject(record(element))
		if (err == nil) != good || (s == nil) == good {
			t.Errorf("%s: %v", element, err)
		}
	}
	for over, good := range map[int]bool{0: true, 1: false} {
		list := []byte(`{"v":1,"work":[]}`)
		list = append(bytes.Repeat([]byte(" "), recordstore.MaxValueBytes-len(list)+over), list...)
		if _, err := decodeWork(list); (err == nil) != good {
			t.Errorf("a list of %d bytes: %v", len(list), err)
		}
		long := bytes.Repeat([]byte(" "), recordstore.MaxValueBytes+over-len(record(`{"s":"`+sid+`","u":5}`)))
		if _, err := decodeSubject(append(long, record(`{"s":"`+sid+`","u":5}`)...)); (err == nil) != good {
			t.Errorf("a record %d bytes too long: %v", over, err)
		}
	}
}

// A refresh token has one spelling: a line break, which decoders of base64 skip, makes it another.
func TestTokensWithLineBreaks(t *testing.T) {
	p := presented{family: newSecret(), generation: newSecret()}
	good := p.encode()
	if _, ok := parseToken(good); !ok {
		t.Fatal("the good twin")
	}
	for _, at := range []int{len(tokenPrefix), len(tokenPrefix) + 1, len(good) / 2, len(good) - 1} {
		for _, c := range []string{"\n", "\r"} {
			for name, s := range map[string]string{"inserted": good[:at] + c + good[at:], "in place of a character": good[:at] + c + good[at+1:]} {
				if _, ok := parseToken(s); ok {
					t.Errorf("%q %s at %d: taken", c, name, at)
				}
			}
			sid := sidText([16]byte{9})
			if _, ok := parseSID(sid[:4] + c + sid[5:]); ok {
				t.Errorf("a session id with %q: taken", c)
			}
		}
	}
	if _, ok := parseToken(strings.Replace(good, tokenPrefix, "", 1)); ok {
		t.Error("without its prefix: taken")
	}
}
