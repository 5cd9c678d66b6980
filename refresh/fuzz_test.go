package refresh

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
)

// FuzzParseToken: what is read is written back as it was; nothing has two spellings.
func FuzzParseToken(f *testing.F) {
	p := presented{family: newSecret(), generation: newSecret()}
	good := p.encode()
	seeds := []string{good, p.encodeIssued(1), "", tokenPrefix, good[:40], good + "A", strings.ToUpper(good), good[:20] + "\n" + good[20:], strings.Replace(good, "htr1_", "htr2_", 1), tokenPrefix + strings.Repeat("_", 118)}
	for _, s := range seeds {
		f.Add(s)
	}
	if _, ok := parseToken(good); !ok {
		f.Fatal("the good seed is not read")
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := parseToken(s)
		if !ok {
			return
		}
		if p.exact != (p.encode() == s) {
			t.Fatalf("%q is read as %q, exact %t", s, p.encode(), p.exact)
		}
		// In the spelling of earlier versions only the time of issue is free.
		b, err := tokenEncoding.DecodeString(strings.TrimPrefix(s, tokenPrefix))
		if err != nil || p.encodeIssued(int64(binary.BigEndian.Uint64(b[16:24]))) != s {
			t.Fatalf("%q is read as %v: %v", s, p, err)
		}
	})
}

func seedSession(tb testing.TB) []byte {
	family, current := newSecret().hash(useFamily, [16]byte{}), newSecret().hash(useGeneration, [16]byte{})
	s := &session{
		V: recordVersion, SID: sidText([16]byte{}), Subject: "u", Client: "c", Audience: []string{"a"}, Claims: []byte(`{"x":1}`), AuthTime: 1, Start: 2, Until: 3, Used: 2, Issued: 2,
		Family: family[:], Current: current[:], Generation: 2,
		Steps: []step{{Hash: current[:], Generation: 1, Seal: newSecret().seal(newSecret(), [16]byte{}, 1), Until: 9, Answers: 1}},
	}
	b, err := encodeRecord(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// seedBound is a session that is bound to its device.
func seedBound(tb testing.TB) []byte {
	s, err := decodeSession(seedSession(tb), sidText([16]byte{}))
	if err != nil {
		tb.Fatal(err)
	}
	s.offer(&offered{secret: newSecret()}, 5)
	salt := newSecret()
	s.BoundKey, s.BoundSalt, s.BoundAt, s.Must = []byte("a key in its PKIX form"), salt[:], 6, []string{"bound_key"}
	s.useUp()
	b, err := encodeRecord(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// FuzzParseBound: what names a bound session, offers to bind one or asks for a proof has one
// spelling, and what is made is read.
func FuzzParseBound(f *testing.F) {
	salt := newSecret()
	s := &session{SID: sidText([16]byte{1}), BoundSalt: salt[:]}
	s.useUp()
	offer := (&offered{[16]byte{1}, newSecret()}).encode()
	if _, ok := parseOffer(offer); !ok {
		f.Fatal("an offer is not read")
	}
	if sid, ok := parseBoundID(s.boundID()); !ok || sid != [16]byte{1} {
		f.Fatal("an id is not read")
	}
	if why := s.fresh(s.challenge(7), 8, 1, 1); why != "" {
		f.Fatal(why)
	}
	for _, text := range []string{offer, s.boundID(), s.challenge(7), "", offerPrefix, offer + "A", offer[:20] + "\n" + offer[21:], s.boundID()[:42] + "\r", strings.ToUpper(s.challenge(7)), strings.Repeat("_", 43), strings.Repeat("_", 32)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if o, ok := parseOffer(text); ok && o.encode() != text {
			t.Fatalf("%q is a second spelling", text)
		}
		if sid, ok := parseBoundID(text); ok {
			if b, err := tokenEncoding.DecodeString(text); err != nil || [16]byte(b) != sid || tokenEncoding.EncodeToString(b) != text {
				t.Fatalf("%q is a second spelling", text)
			}
		}
		if s.fresh(text, 8, 1, 1) == "" && text != s.challenge(7) && text != s.challenge(6) && text != s.challenge(8) && text != s.challenge(9) {
			t.Fatalf("the challenge %q is none of ours", text)
		}
	})
}

func seedSubject(tb testing.TB) []byte {
	b, err := encodeRecord(&subject{V: recordVersion, Live: []live{{SID: sidText([16]byte{1}), Until: 5}}, Cutoff: 7, Op: "x", At: 8, Keep: []string{"k"}, Ending: []live{{SID: sidText([16]byte{2}), Until: 5}}})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// FuzzDecodeRecords: what a store returns, no matter what wrote it there, is a record that can
// be or an error, and is written back as it was read.
func FuzzDecodeRecords(f *testing.F) {
	good := seedSession(f)
	list := seedSubject(f)
	sid := sidText([16]byte{})
	if _, err := decodeSession(good, sid); err != nil {
		f.Fatal(err)
	}
	if _, err := decodeSubject(list); err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{
		[]byte(`{"v":1,"epoch":5,"count":6,"at":7,"fell":8,"boundary":9,"x":[]}`),
		good, list, seedBound(f), bytes.Replace(seedBound(f), []byte(`"bound_at":6`), []byte(`"bound_at":-6`), 1), nil, []byte(`{}`), []byte(`{"v":2}`), []byte(`{"v":1}`), good[:len(good)/2], append(bytes.Clone(good), 'x'),
		bytes.Replace(good, []byte(`"v":1`), []byte(`"v":1,"v":1`), 1), bytes.Replace(good, []byte(`"until":3`), []byte(`"until":9223372036854775807`), 1),
		bytes.Replace(good, []byte(`"sub":"u"`), []byte(`"sub":"\ud800"`), 1), bytes.Replace(list, []byte(`"u":5`), []byte(`"u":-5`), 1),
		grown(f, good, `"a":{"b":[1,{"c":null}]},"<é\"":"</\u2028"`), grown(f, list, `"n":-1.50e+3,"":null,"must":["n","cutoff"]`),
		grown(f, good, `"FAMILY":"x"`), grown(f, list, `"Cutoff":1`), grown(f, list, `"x":"`+strings.Repeat("x", maxUnknownBytes)+`"`), bytes.Replace(list, []byte(`"cutoff":7`), []byte(`"cutoff":null`), 1),
	} {
		f.Add(b)
	}
	lifetimes := Web
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := decodeSession(data, sid); err == nil {
			s.deadline(&lifetimes)
			s.clone().prune(func(x *step) bool { return x.Until > time.Now().UnixMilli() })
			again, err := encodeRecord(s)
			if err != nil {
				t.Fatalf("%q is read and cannot be written: %v", data, err)
			}
			if _, err := decodeSession(again, sid); err != nil {
				t.Fatalf("%q is written back as %q: %v", data, again, err)
			}
			keptAll(t, data, again)
		}
		if e, err := decodeEpoch(data); err == nil {
			again, err := encodeRecord(e)
			if err != nil {
				t.Fatalf("%q is read and cannot be written: %v", data, err)
			}
			if _, err := decodeEpoch(again); err != nil {
				t.Fatalf("%q is written back as %q: %v", data, again, err)
			}
			keptAll(t, data, again)
		}
		if s, err := decodeSubject(data); err == nil {
			again, err := encodeRecord(s)
			if err != nil {
				t.Fatalf("%q is read and cannot be written: %v", data, err)
			}
			if _, err := decodeSubject(again); err != nil {
				t.Fatalf("%q is written back as %q: %v", data, again, err)
			}
			keptAll(t, data, again)
		}
	})
}

// A record of another version number, or one that was tampered with, is no reason to log
// anybody out, and is left as it is.
func TestUnknownRecords(t *testing.T) {
	good := seedSession(t)
	sid := sidText([16]byte{})
	for name, change := range map[string][2]string{
		"version":       {`"v":1`, `"v":2`},
		"twice":         {`"used":2`, `"used":2,"used":3`},
		"times":         {`"used":2`, `"used":-2`},
		"other session": {sid, sidText([16]byte{1})},
		"no client":     {`"client":"c"`, `"client":""`},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := decodeSession([]byte(bad), sid); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzDecodeOutages: whatever lies in the shared record, what is read of it is bounded, recent
// and in order, and takes no more from a window than its length.
func FuzzDecodeOutages(f *testing.F) {
	const now, skew = 1_800_000_000_000, 2000
	good, err := encodeRecord(&outageRecord{V: recordVersion, Spans: []span{{now - 20_000, now - 10_000}, {now - 5000, now}}})
	if err != nil {
		f.Fatal(err)
	}
	if spans, err := decodeOutages(good, now, skew); err != nil || len(spans) != 2 {
		f.Fatal(spans, err)
	}
	// A record is refused by its length before it is read.
	longest := append(good, bytes.Repeat([]byte(" "), recordstore.MaxValueBytes-len(good))...)
	if spans, err := decodeOutages(longest, now, skew); err != nil || len(spans) != 2 {
		f.Fatal(spans, err)
	}
	if spans, err := decodeOutages(append(longest, ' '), now, skew); err == nil || spans != nil {
		f.Fatalf("%d bytes: %v, %v", recordstore.MaxValueBytes+1, spans, err)
	}
	for _, s := range []string{
		string(good), "", "null", `{"v":2}`, `{"v":1,"spans":[[1]]}`, `{"v":1,"spans":[[1,2,3]]}`, `{"v":1,"spans":[[1800000000000,1799999990000]]}`,
		`{"v":1,"spans":[[0,1800000000000]]}`, `{"v":1,"spans":[[-9223372036854775808,9223372036854775807]]}`, `{"v":1,"spans":[[0,9223372036854775807]]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spans, err := decodeOutages(data, now, skew)
		if err != nil && spans != nil || len(spans) > 4*maxSpans {
			t.Fatalf("%d spans, %v", len(spans), err)
		}
		for _, x := range spans {
			if x.from() < 0 || x.to() < x.from() || x.to() > now+skew {
				t.Fatalf("%v", x)
			}
		}
		if n := overlap(spans, now-60_000, now); n < 0 || n > 60_000 {
			t.Fatalf("%d ms of a minute", n)
		}
	})
}
