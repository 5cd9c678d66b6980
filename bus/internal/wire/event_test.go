package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	testIssuer  = "https://auth.example.com"
	thumbprint  = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	testNonce   = "000102030405060708090a0b0c0d0e0f"
	testMillis  = int64(1767225600000)
	testSubject = "revocations.v1.1ce18487e0b9bfefc8259d779bfe9874.subject"
)

func decode(subject string, data []byte) (Message, revoke.Fault) {
	return new(Decoder).Decode(subject, data)
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// As a person would write it, looking at the documentation.
func TestDecodeHandWritten(t *testing.T) {
	subject := Subject(testIssuer, revoke.KindSubject)
	got, fault := decode(subject, []byte(`{
		"v": 1, "id": "one", "iss": "https://auth.example.com",
		"kind": "subject", "value": "user-1",
		"before": 1767225600000, "keep": ["s1", "s\u0032"], "until": 1767229200000,
		"reason": "password_change", "actor": "help desk", "at": 1767225598000,
		"note": {"unknown": ["members", "are", "ignored"]}
	}`))
	want := revoke.Event{
		ID: "one", Issuer: testIssuer, Kind: revoke.KindSubject, Value: "user-1",
		Before: at(1767225600000), Keep: []string{"s1", "s2"}, Until: at(1767229200000),
		Reason: "password_change", Actor: "help desk", At: at(1767225598000),
	}
	if fault != 0 || got.Beat || !reflect.DeepEqual(got.Event, want) {
		t.Fatalf("got %+v, fault %d", got, fault)
	}
	short, fault := decode(Subject("i", revoke.KindToken), []byte(`{"v":1,"iss":"i","kind":"token","value":"jti"}`))
	if fault != 0 || !reflect.DeepEqual(short.Event, revoke.Event{Issuer: "i", Kind: revoke.KindToken, Value: "jti"}) {
		t.Fatalf("shortest event: got %+v, fault %d", short, fault)
	}
}

// The bytes on the wire are a contract: other versions and other clients read them.
func TestEncodeGolden(t *testing.T) {
	e := revoke.Event{
		ID: "one", Issuer: testIssuer, Kind: revoke.KindSubject, Value: "user-1",
		Before: at(testMillis).Add(time.Nanosecond), Keep: []string{"s1", "s\n2"}, Until: at(testMillis + 1),
		Reason: "r", Actor: "ä", At: at(testMillis),
	}
	got, err := EncodeEvent(&e)
	want := `{"v":1,"id":"one","iss":"https://auth.example.com","kind":"subject","value":"user-1","before":1767225600001,` +
		`"keep":["s1","s\n2"],"until":1767225600001,"reason":"r","actor":"ä","at":1767225600000}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	hb, err := EncodeHeartbeat(replica.Heartbeat{Nonce: [16]byte{1: 1, 15: 15}, Time: at(testMillis).Add(999 * time.Microsecond), Name: "n"})
	if want := `{"v":1,"nonce":"0001000000000000000000000000000f","ts":1767225600000,"name":"n"}`; err != nil || string(hb) != want {
		t.Errorf("got  %s, %v\nwant %s", hb, err, want)
	}
}

func TestSubject(t *testing.T) {
	// printf %s https://auth.example.com | sha256sum
	if got := Subject(testIssuer, revoke.KindSubject); got != testSubject {
		t.Errorf("got %s, want %s", got, testSubject)
	}
	if Subject(testIssuer+"/", revoke.KindSubject) == testSubject {
		t.Error("a trailing slash makes another issuer")
	}
}

func TestDecodeFaults(t *testing.T) {
	const good = `{"v":1,"iss":"https://auth.example.com","kind":"subject","value":"u","before":1767225600000}`
	with := func(old, new string) string {
		s := strings.Replace(good, old, new, 1)
		if s == good {
			t.Fatalf("%q is not in the good event", old)
		}
		return s
	}
	keeps := func(n int) string {
		return with(`"v":1`, `"v":1,"keep":["`+strings.Join(slices.Repeat([]string{"s"}, n), `","`)+`"]`)
	}
	hb := `{"v":1,"nonce":"` + testNonce + `","ts":1767225600000}`
	for _, tt := range []struct {
		name, subject, data string
		want                revoke.Fault
	}{
		{"good", testSubject, good, 0},
		{"known kind, critical", testSubject, with(`"v":1`, `"v":1,"critical":true`), 0},
		{"64 keeps", testSubject, keeps(64), 0},
		{"empty", testSubject, ``, revoke.FaultMalformed},
		{"array", testSubject, `[]`, revoke.FaultMalformed},
		{"cut off", testSubject, good[:len(good)-1], revoke.FaultMalformed},
		{"trailing data", testSubject, good + `x`, revoke.FaultMalformed},
		{"second object", testSubject, good + good, revoke.FaultMalformed},
		{"duplicate member", testSubject, with(`"v":1`, `"v":1,"value":"other"`), revoke.FaultMalformed},
		{"duplicate member, escaped", testSubject, with(`"v":1`, `"v":1,"valu\u0065":"other"`), revoke.FaultMalformed},
		{"bad UTF-8", testSubject, with(`"u"`, "\"\xff\""), revoke.FaultMalformed},
		{"lone surrogate", testSubject, with(`"u"`, `"\ud800"`), revoke.FaultMalformed},
		{"other case", testSubject, with(`"value"`, `"Value"`), revoke.FaultMalformed},
		{"no version", testSubject, with(`"v":1,`, ``), revoke.FaultMalformed},
		{"version as text", testSubject, with(`"v":1`, `"v":"1"`), revoke.FaultMalformed},
		{"version 0", testSubject, with(`"v":1`, `"v":0`), revoke.FaultMalformed},
		{"version 2", testSubject, with(`"v":1`, `"v":2`), revoke.FaultVersion},
		{"version 2 with other types", testSubject, `{"v":2,"iss":[1],"kind":{}}`, revoke.FaultVersion},
		{"version 2, critical", testSubject, with(`"v":1`, `"v":2,"critical":true`), revoke.FaultCritical},
		{"version 2, not critical", testSubject, with(`"v":1`, `"v":2,"critical":false`), revoke.FaultVersion},
		{"critical as text", testSubject, with(`"v":1`, `"v":2,"critical":"true"`), revoke.FaultVersion},
		{"critical twice", testSubject, with(`"v":1`, `"v":2,"critical":true,"critical":true`), revoke.FaultVersion},
		{"version twice", testSubject, with(`"v":1`, `"v":1,"v":1`), revoke.FaultMalformed},
		{"issuer twice", testSubject, with(`"v":1`, `"v":1,"iss":"https://auth.example.com"`), revoke.FaultMalformed},
		{"kind twice", testSubject, with(`"v":1`, `"v":1,"kind":"subject"`), revoke.FaultMalformed},
		{"version 1.5", testSubject, with(`"v":1`, `"v":1.5`), revoke.FaultMalformed},
		{"version 1e400", testSubject, with(`"v":1`, `"v":1e400`), revoke.FaultMalformed},
		{"version 2.0", testSubject, with(`"v":1`, `"v":2.0`), revoke.FaultVersion},
		{"issuer, bad UTF-8", testSubject, with(`.com"`, ".com\xff\""), revoke.FaultMalformed},
		{"issuer, lone surrogate", testSubject, with(`.com"`, `.com\udc00"`), revoke.FaultMalformed},
		{"kind to come", eventSubject(testIssuer, "device"), with(`subject`, `device`), revoke.FaultKind},
		{"kind to come, critical", eventSubject(testIssuer, "device"), with(`"kind":"subject"`, `"kind":"device","critical":true`), revoke.FaultCritical},
		{"kind to come, critical, other issuer's subject", eventSubject("x", "device"), with(`"kind":"subject"`, `"kind":"device","critical":true`), revoke.FaultSubject},
		{"no kind", testSubject, with(`"kind":"subject",`, ``), revoke.FaultMalformed},
		{"kind as number", testSubject, with(`"subject"`, `3`), revoke.FaultMalformed},
		{"other issuer", testSubject, with(`.com`, `.org`), revoke.FaultSubject},
		{"trailing slash", testSubject, with(`.com`, `.com/`), revoke.FaultSubject},
		{"other kind", testSubject, with(`subject`, `client`), revoke.FaultSubject},
		{"other subject", "revocations.v1.x", good, revoke.FaultSubject},
		{"no issuer", testSubject, with(`"iss":"https://auth.example.com",`, ``), revoke.FaultMalformed},
		{"huge issuer", testSubject, with(`.com`, strings.Repeat("x", 600)), revoke.FaultMalformed},
		{"no value", testSubject, with(`"value":"u",`, ``), revoke.FaultMalformed},
		{"null value", testSubject, with(`"u"`, `null`), revoke.FaultMalformed},
		{"value as number", testSubject, with(`"u"`, `1`), revoke.FaultMalformed},
		{"value too long", testSubject, with(`"u"`, `"`+strings.Repeat("u", 513)+`"`), revoke.FaultMalformed},
		{"session", Subject(testIssuer, revoke.KindSession), `{"v":1,"iss":"https://auth.example.com","kind":"session","value":"s"}`, 0},
		{"key", Subject(testIssuer, revoke.KindKey), `{"v":1,"iss":"https://auth.example.com","kind":"key","value":"` + thumbprint + `"}`, 0},
		{"key, no thumbprint", Subject(testIssuer, revoke.KindKey), `{"v":1,"iss":"https://auth.example.com","kind":"key","value":"kid-1"}`, revoke.FaultMalformed},
		{"issuer", Subject(testIssuer, revoke.KindIssuer), `{"v":1,"iss":"https://auth.example.com","kind":"issuer"}`, 0},
		{"issuer with a value", Subject(testIssuer, revoke.KindIssuer), `{"v":1,"iss":"https://auth.example.com","kind":"issuer","value":"x"}`, revoke.FaultMalformed},
		{"largest that is read", testSubject, good + strings.Repeat(" ", MaxMessageBytes-len(good)), 0},
		{"one byte more", testSubject, good + strings.Repeat(" ", MaxMessageBytes-len(good)+1), revoke.FaultOversized},
		{"deep nesting", testSubject, with(`"v":1`, `"v":1,"x":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)), revoke.FaultMalformed},
		{"nested 1,001 deep", testSubject, with(`"v":1`, `"v":1,"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), revoke.FaultMalformed},

		{"heartbeat", HeartbeatSubject, hb, 0},
		{"heartbeat with a name", HeartbeatSubject, strings.Replace(hb, `"v":1`, `"v":1,"name":"a","x":0`, 1), 0},
		{"heartbeat, event inside", HeartbeatSubject, good, revoke.FaultMalformed},
		{"event, heartbeat inside", testSubject, hb, revoke.FaultMalformed},
		{"heartbeat, no nonce", HeartbeatSubject, `{"v":1,"ts":1767225600000}`, revoke.FaultMalformed},
		{"heartbeat, short nonce", HeartbeatSubject, strings.Replace(hb, testNonce, testNonce[:30], 1), revoke.FaultMalformed},
		{"heartbeat, no hex", HeartbeatSubject, strings.Replace(hb, testNonce, "zz"+testNonce[2:], 1), revoke.FaultMalformed},
		{"heartbeat, no time", HeartbeatSubject, `{"v":1,"nonce":"` + testNonce + `"}`, revoke.FaultMalformed},
		{"heartbeat, seconds", HeartbeatSubject, strings.Replace(hb, `5600000`, `5600`, 1), revoke.FaultMalformed},
		{"heartbeat, long name", HeartbeatSubject, strings.Replace(hb, `"v":1`, `"v":1,"name":"`+strings.Repeat("n", 129)+`"`, 1), 0},
		{"heartbeat, name null", HeartbeatSubject, strings.Replace(hb, `"v":1`, `"v":1,"name":null`, 1), 0},
		{"heartbeat, version 2, critical", HeartbeatSubject, strings.Replace(hb, `"v":1`, `"v":2,"critical":true`, 1), revoke.FaultVersion},
		{"heartbeat, oversized", HeartbeatSubject, hb + strings.Repeat(" ", maxHeartbeatBytes), revoke.FaultOversized},
	} {
		if _, fault := decode(tt.subject, []byte(tt.data)); fault != tt.want {
			t.Errorf("%s: fault %d, want %d", tt.name, fault, tt.want)
		}
	}
}

// The largest legal event fits into the bound, unless most of its bytes have to be
// escaped: then it is refused before it is sent.
func TestLargestEvent(t *testing.T) {
	control := strings.Repeat("x", revoke.MaxValueBytes)
	note := strings.Repeat("y", revoke.MaxReasonBytes)
	e := revoke.Event{
		ID: note, Issuer: control, Kind: revoke.KindSubject, Value: control, Keep: slices.Repeat([]string{control}, revoke.MaxKeep),
		Before: at(1<<53 - 1), Until: at(1<<53 - 1), At: at(1<<53 - 1), Reason: note, Actor: note,
	}
	data, err := EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > largestPlain || len(data) < largestPlain-256 {
		t.Errorf("the largest event has %d bytes, the bound is %d", len(data), largestPlain)
	}
	got, fault := decode(Subject(e.Issuer, e.Kind), data)
	if fault != 0 || !reflect.DeepEqual(got.Event, e) {
		t.Errorf("it comes back changed, or with fault %d", fault)
	}
	escaped := e
	escaped.Keep = slices.Repeat([]string{strings.Repeat("\"", revoke.MaxValueBytes)}, revoke.MaxKeep)
	if _, err := EncodeEvent(&escaped); !errors.Is(err, revoke.ErrInvalidEvent) || !strings.Contains(err.Error(), fmt.Sprint(MaxEventBytes)) {
		t.Errorf("escaped, beyond the bound: %v", err)
	}
	e.Keep = append(e.Keep, "one more")
	if _, err := EncodeEvent(&e); err == nil {
		t.Error("an illegal event was encoded")
	}
}

// Subject and payload cannot trade bytes.
func TestRecordDigest(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, r := range [][2]string{{"a", "bc"}, {"ab", "c"}, {"abc", ""}, {"", "abc"}, {"a", "bd"}} {
		d := RecordDigest(r[0], []byte(r[1]))
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q have the same digest", r, other)
		}
		seen[d] = fmt.Sprint(r)
	}
	if first, second := RecordDigest("a", []byte("b")), RecordDigest("a", []byte("b")); first != second {
		t.Error("not a function")
	}
}

var eventSeeds = []struct{ iss, kind, data string }{
	{testIssuer, "token", `{"v":1,"id":"1","iss":"https://auth.example.com","kind":"token","value":"jti","until":1767229200000,"at":1767225598000}`},
	{testIssuer, "subject", `{"v":1,"iss":"https://auth.example.com","kind":"subject","value":"u","before":1767225600000,"keep":["a","b"]}`},
	{testIssuer, "key", `{"v":1,"iss":"https://auth.example.com","kind":"key","value":"` + thumbprint + `"}`},
	{testIssuer, "issuer", ` {"v":1,"iss":"https:\/\/auth.example.com","kind":"issuer","reason":"\ud83d\ude00"}`},
	{testIssuer, "device", `{"v":1,"critical":true,"iss":"https://auth.example.com","kind":"device"}`},
	{"i", "client", `{"v":1,"iss":"i","kind":"client","value":"\u0000","keep":[]}`},
	{"i", "tenant", `{"v":9,"iss":"i","kind":"tenant","value":1e400}`},
	{"i", "token", `{"v":1,"v":1}`},
	{testIssuer, "subject", `{"v":1,"id":"KZ4XJ7","iss":"https://auth.example.com","kind":"subject","value":"s-1","before":1767225600000,"until":1767229200000,"reason":"logout","actor":"a","at":1767225598000}`},
	{"i", "token", `{"v":1,"iss":"i","kind":"token","value":"a","at":0176722559800}`},
	{"i", "token", `{"v":1,"iss":"i","kind":"token","value":"a","at":9223372036854775808}`},
	{"i", "token", `{"v":1,"iss":"i","kind":"token","value":"a"}}`},
	{"i", "token", `{"v":1,"kind":"token","iss":"i","value":"a"}`},
	{"j", "token", `{"v":1,"iss":"i","kind":"token","value":"a"}`},
	{"i", "token", "{\"v\":1,\"iss\":\"i\",\"kind\":\"token\",\"value\":\"a\nb\"}"},
	{"i", "token", "{\"v\":1,\"id\":\"\x1b\",\"iss\":\"i\",\"kind\":\"token\",\"value\":\"a\"}"},
	{"i", "token", "{\"v\":1,\"id\":\"\xff\",\"iss\":\"i\",\"kind\":\"token\",\"value\":\"a\"}"},
	{"i", "token", "{\"v\":1,\"iss\":\"i\",\"kind\":\"token\",\"value\":\"a\xc3\x28\"}"},
	{"i", "token", "{\"v\":1,\"iss\":\"i\",\"kind\":\"token\",\"value\":\"\u00e9\x7f\"}"},
	{"i", "token", `{"v":1,"iss":"i","kind":"token","value":"a","at":9999999999999999}`},
	{"i", "token", `{"v":1,"iss":"i","kind":"token","value":"a","until":9007199254740993}`},
	{"i", "token", `{"v":1,"iss":"i","kind":"token","value":"a","until":999999999999999999}`},
}

// Whatever bytes arrive: no panic, and what is accepted is legal and has one
// canonical form, which reads the same.
func FuzzDecodeEvent(f *testing.F) {
	for _, s := range eventSeeds {
		f.Add(s.iss, s.kind, []byte(s.data))
	}
	f.Fuzz(func(t *testing.T, iss, kind string, data []byte) {
		subject := eventSubject(iss, kind)
		m, fault := decode(subject, data)
		checkPlain(t, subject, data, m, fault)
		if fault != 0 {
			if !reflect.DeepEqual(m.Event, revoke.Event{}) || m.unusable != nil {
				t.Fatalf("fault %d with an event", fault)
			}
			return
		}
		if m.Beat || m.Event.Issuer != iss || m.Event.Kind.String() != kind {
			t.Fatalf("not the subject's: %+v", m)
		}
		once, err := EncodeEvent(&m.Event)
		if err != nil || len(once) > MaxEventBytes {
			t.Fatalf("accepted but not encodable: %d bytes, %v", len(once), err)
		}
		again, fault := decode(subject, once)
		m.unusable = nil // left out, and hence not written
		if m.Received, err = replica.Receive(m.Event); err != nil {
			t.Fatal(err)
		}
		if fault != 0 || !reflect.DeepEqual(again, m) {
			t.Fatalf("decode(encode(e)) = %+v, fault %d, want %+v", again, fault, m)
		}
		if twice, _ := EncodeEvent(&again.Event); !bytes.Equal(once, twice) {
			t.Fatalf("not canonical: %s, %s", once, twice)
		}
	})
}

// checkPlain: the quick reading decides as the one with all the rules does, and is not
// left unused for what EncodeEvent writes of plain texts.
func checkPlain(t *testing.T, subject string, data []byte, m Message, fault revoke.Fault) {
	t.Helper()
	if len(data) > MaxMessageBytes {
		return
	}
	slow, slowFault, critical := new(Decoder).anyEvent(subject, data)
	if slowFault != 0 && critical {
		slowFault, slow.Instead = revoke.FaultCritical, slowFault
	}
	if slowFault != fault || !reflect.DeepEqual(slow, m) {
		t.Fatalf("read as %+v, fault %d; with all rules %+v, fault %d", m, fault, slow, slowFault)
	}
	e := slow.Event
	if fault != 0 || len(e.Keep) > 0 || strings.ContainsFunc(fmt.Sprintf("%q", []string{e.ID, e.Issuer, e.Value, e.Reason, e.Actor}), func(r rune) bool { return r == '\\' || r > '~' }) {
		return
	}
	for _, at := range []time.Time{e.Before, e.Until, e.At} {
		if at.Year() > 9999 {
			return
		}
	}
	once, err := EncodeEvent(&e)
	if err != nil {
		t.Fatal(err)
	}
	var d Decoder
	for range 2 { // once with an issuer that was not read before, and once with one that was
		var quick replica.Received
		if ok := d.Plain(Subject(e.Issuer, e.Kind), once, &quick); !ok || !reflect.DeepEqual(quick.Event(), e) {
			t.Fatalf("%s is not read quickly: %+v, %v", once, quick, ok)
		}
	}
}

func FuzzDecodeHeartbeat(f *testing.F) {
	f.Add([]byte(`{"v":1,"nonce":"` + testNonce + `","ts":1767225600000,"name":"auth-1"}`))
	f.Add([]byte(`{"v":1,"nonce":"` + strings.ToUpper(testNonce) + `","ts":9223372036854775807}`))
	f.Add([]byte(`{"v":2,"critical":true}`))
	f.Add([]byte(`{"v":1,"nonce":"","ts":0}`))
	f.Add([]byte(`{"v":1,"nonce":"` + testNonce + `","ts":1767225600000,"digest":{"alg":1}}`))
	f.Add([]byte(`{"v":1,"nonce":"` + testNonce + `","ts":1767225600000,"digest":{"alg":1,"seq":7,"count":3,"sum":"` + strings.Repeat("0f", 32) + `"}}`))
	f.Add([]byte(`{"v":1,"nonce":"` + testNonce + `","ts":1767225600000,"digest":{"alg":1,"seq":-7,"count":null,"sum":""}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, fault := decode(HeartbeatSubject, data)
		if !m.Beat {
			t.Fatal("not a heartbeat")
		}
		if fault != 0 {
			if m.Heartbeat != (replica.Heartbeat{}) {
				t.Fatalf("fault %d with a heartbeat", fault)
			}
			return
		}
		once, err := EncodeHeartbeat(m.Heartbeat)
		if err != nil {
			t.Fatal(err)
		}
		again, fault := decode(HeartbeatSubject, once)
		if fault != 0 || !reflect.DeepEqual(again, m) {
			t.Fatalf("decode(encode(hb)) = %+v, fault %d", again, fault)
		}
	})
}

// The seeds do what they are there for: some are accepted, some are not.
func TestSeeds(t *testing.T) {
	var faults []revoke.Fault
	for _, s := range eventSeeds {
		_, fault := decode(eventSubject(s.iss, s.kind), []byte(s.data))
		faults = append(faults, fault)
	}
	want := []revoke.Fault{0, 0, 0, 0, revoke.FaultCritical, 0, revoke.FaultVersion, revoke.FaultMalformed,
		0, revoke.FaultMalformed, 0, revoke.FaultMalformed, 0, revoke.FaultSubject,
		revoke.FaultMalformed, revoke.FaultMalformed, 0, revoke.FaultMalformed, 0, 0, 0, 0}
	if !reflect.DeepEqual(faults, want) {
		t.Errorf("faults %d, want %d", faults, want)
	}
}

// BenchmarkDecodeEvent is how an event is read during a replay, and as JSON by all rules.
func BenchmarkDecodeEvent(b *testing.B) {
	data := []byte(`{"v":1,"id":"KZ4XJ7Q2M5N3P6R8T9V1W0Y2AB","iss":"https://auth.example.com","kind":"token","value":"6f9619ff-8b86-d011-b42d-00c04fc964ff","until":1767229200000,"reason":"logout","at":1767225598000}`)
	subject := Subject(testIssuer, revoke.KindToken)
	var d Decoder
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		var received replica.Received
		for b.Loop() {
			if !d.Plain(subject, data, &received) {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("by all rules", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, fault, _ := d.anyEvent(subject, data); fault != 0 {
				b.Fatal(fault)
			}
		}
	})
}
