package wire

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A replica applies messages as a follower does, with nothing between.
type reader struct {
	list *revoke.List
	feed *replica.Feed
	now  revoke.Instant
	ts   time.Time // the stream's clock, which agrees with ours
	gen  uint64
	n    uint64
	log  bytes.Buffer
}

var replicaRetention = revoke.DefaultRetention()

func newReplica(t testing.TB) *reader {
	t.Helper()
	r := &reader{ts: at(testMillis), now: revoke.At(at(testMillis))}
	var err error
	if r.list, err = revoke.NewList(revoke.Config{}); err != nil {
		t.Fatal(err)
	}
	if r.feed, err = replica.NewFeed(r.list); err != nil {
		t.Fatal(err)
	}
	r.feed.LogTo(slog.New(slog.NewTextHandler(&r.log, nil)))
	r.gen = r.feed.Begin(r.now, replica.LogInfo{Retention: replicaRetention}).Generation
	return r
}

// take hands over a message and returns what was decoded.
func (r *reader) take(t testing.TB, subject string, data []byte) (Message, revoke.Fault) {
	t.Helper()
	r.n++
	rec := replica.Record{Generation: r.gen, Delivery: r.n, Sequence: r.n, Time: r.ts, Subject: subject, Data: data}
	m, fault := decode(subject, data)
	var err error
	switch {
	case fault != 0:
		err = r.feed.Fault(r.now, rec, fault, m.Member)
	default:
		err = r.feed.Received(r.now, rec, &m.Received) // as the follower does
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, fault
}

// slack is what a cutoff gets on top of an instant.
func slack(t testing.TB) time.Duration {
	t.Helper()
	e, err := revoke.Event{Issuer: "i", Kind: revoke.KindIssuer}.Complete(at(testMillis), replicaRetention)
	if err != nil {
		t.Fatal(err)
	}
	return e.Before.Sub(at(testMillis))
}

// token is one that e revokes, if it was issued in time.
func token(e *revoke.Event, iat time.Time, sid string) *revoke.Identity {
	id := &revoke.Identity{Issuer: e.Issuer, IssuedAt: iat, Session: sid}
	switch e.Kind {
	case revoke.KindToken:
		id.Token = e.Value
	case revoke.KindSession:
		id.Session = e.Value
	case revoke.KindSubject:
		id.Subject = e.Value
	case revoke.KindClient:
		id.Client = e.Value
	case revoke.KindTenant:
		id.Tenant = e.Value
	case revoke.KindKey:
		id.Key = e.Value
	}
	return id
}

func (r *reader) revoked(id *revoke.Identity, after time.Duration) bool {
	return errors.Is(r.list.Check(r.now.Add(after), id, revoke.InsecureAllow()), revoke.ErrRevoked)
}

// unusableValues are what no member of an event can be, by name. None is what somebody
// sends on purpose: it is what serializers write for "absent", other units, other types,
// and what grew too long.
func unusableValues(member string) map[string]string {
	values := map[string]string{
		"null": `null`, "true": `true`, "false": `false`, "an object": `{"a":1}`, "an empty object": `{}`, "a number": `12`, "zero": `0`,
		"deep": strings.Repeat("[", 200) + strings.Repeat("]", 200), "an object with a name twice": `{"a":1,"a":2}`,
		"invalid UTF-8": "\"a\xff\"", "a lone surrogate": `"\ud800"`,
	}
	switch member {
	case "id", "reason", "actor":
		values["too long"] = `"` + strings.Repeat("x", revoke.MaxReasonBytes+1) + `"`
		values["an array"] = `["logout"]`
		values["megabytes, nearly"] = `"` + strings.Repeat("x", 60_000) + `"`
	case "before", "until", "at":
		values["negative"] = `-1767225600000`
		values["a fraction"] = `1767225600000.5`
		values["seconds"] = `1767225600`
		values["seconds and a fraction"] = `1767225600.123`
		values["beyond a double's integers"] = `9007199254740993`
		values["beyond int64"] = `9223372036854775808`
		values["beyond doubles"] = `1e999`
		values["text"] = `"1767225600000"`
		values["a date"] = `"2026-01-01T00:00:00Z"`
		values["an array"] = `[1767225600000]`
	case "keep":
		values["text"] = `"kept"`
		values["an empty sid"] = `["kept",""]`
		values["a number among them"] = `["kept",1]`
		values["null among them"] = `["kept",null]`
		values["invalid UTF-8 among them"] = "[\"kept\",\"\xff\"]"
		values["a sid too long"] = `["kept","` + strings.Repeat("s", revoke.MaxValueBytes+1) + `"]`
		values["one too many"] = `["kept"` + strings.Repeat(`,"s"`, revoke.MaxKeep) + `]`
	case "critical":
		delete(values, "true")
		delete(values, "false")
		values["text"] = `"true"`
	}
	return values
}

var optional = []string{"id", "before", "keep", "until", "reason", "actor", "at", "critical"}

// An unusable member that is optional, or for people, never costs a revocation: each of
// them, spoiled in each way, in events of each kind, leaves a revocation with the
// reading that revokes most, counted and logged by its name.
func TestUnusableMembersRevoke(t *testing.T) {
	const (
		before = testMillis - 5_000
		sent   = testMillis - 1_000
	)
	until := testMillis + (2 * time.Hour).Milliseconds() // longer than tokens live, or it is raised
	variants := 0
	for kind := revoke.KindToken; kind <= revoke.KindIssuer; kind++ {
		value := map[revoke.Kind]string{revoke.KindKey: thumbprint, revoke.KindIssuer: ""}
		v, ok := value[kind]
		if !ok {
			v = "v"
		}
		named := revoke.Event{Issuer: testIssuer, Kind: kind, Value: v}
		good := map[string]string{"id": `"one"`, "until": fmt.Sprint(until), "reason": `"r"`, "actor": `"a"`, "at": fmt.Sprint(int64(sent)), "critical": `true`}
		if kind.Cutoff() {
			good["before"] = fmt.Sprint(int64(before))
		}
		if kind == revoke.KindSubject {
			good["keep"] = `["kept"]`
		}
		write := func(spoiled, with string, twice bool) []byte {
			b := []byte(`{"v":1,"iss":"` + testIssuer + `","kind":"` + kind.String() + `"`)
			if v != "" {
				b = append(b, `,"value":"`+v+`"`...)
			}
			for _, name := range optional {
				text := good[name]
				if name == spoiled {
					text = with
				}
				if text != "" {
					b = append(b, `,"`+name+`":`+text...)
				}
				if name == spoiled && twice {
					b = append(b, `,"`+name+`":`+text...)
				}
			}
			return append(b, '}')
		}
		check := func(what, member string, data []byte) {
			t.Helper()
			variants++
			r := newReplica(t)
			m, fault := r.take(t, Subject(testIssuer, kind), data)
			if fault != 0 {
				t.Errorf("%s, %s: fault %q (member %q): not revoked", kind, what, fault, m.Member)
				return
			}
			cutoff, life := at(before), at(until)
			switch member {
			case "before":
				cutoff = r.ts.Add(slack(t))
			case "until":
				switch kind {
				case revoke.KindToken:
					life = r.ts.Add(replicaRetention.TokenLifetime)
				case revoke.KindKey:
					life = time.Time{} // ten years, see below
				default:
					life = r.ts.Add(replicaRetention.SessionLifetime)
				}
			}
			if !r.revoked(token(&named, cutoff, "other"), 0) {
				t.Errorf("%s, %s: not revoked", kind, what)
			}
			if spared := !r.revoked(token(&named, cutoff.Add(time.Millisecond), "other"), 0); spared != kind.Cutoff() {
				t.Errorf("%s, %s: a token after the cutoff is spared: %t", kind, what, spared)
			}
			if kind == revoke.KindSubject && r.revoked(token(&named, cutoff, "kept"), 0) != (member == "keep") {
				t.Errorf("%s, %s: the kept session is revoked: %t", kind, what, member != "keep")
			}
			lives, gone := life.Sub(r.ts), life.Sub(r.ts)+13*time.Minute
			if life.IsZero() {
				lives, gone = 9*365*24*time.Hour, 11*365*24*time.Hour
			}
			if !r.revoked(token(&named, cutoff, "other"), lives) || r.revoked(token(&named, cutoff, "other"), gone) {
				t.Errorf("%s, %s: it does not live for %s", kind, what, lives)
			}
			s := r.list.Stats(r.now)
			want := map[string]uint64{}
			if member != "" {
				want[member] = 1
			}
			if !reflect.DeepEqual(s.Unusable, want) || s.Applied[kind] != 1 || len(s.Faults) != 0 {
				t.Errorf("%s, %s: counted %v, want %v; %d applied", kind, what, s.Unusable, want, s.Applied[kind])
			}
			if r.list.Status(r.now).Degraded != (member != "") {
				t.Errorf("%s, %s: degraded: %t", kind, what, member == "")
			}
			if logged := strings.Contains(r.log.String(), "member="+member+" "); member != "" && !logged || member == "" && r.log.Len() > 0 {
				t.Errorf("%s, %s: logged %q", kind, what, r.log.String())
			}
		}
		check("nothing spoiled", "", write("", "", false))
		for _, name := range optional {
			if good[name] == "" { // not for this kind
				check(name+" is of another kind", name, write(name, map[string]string{"before": fmt.Sprint(int64(before)), "keep": `["kept"]`}[name], false))
			} else {
				check(name+" twice", name, write(name, good[name], true))
			}
			for how, text := range unusableValues(name) {
				check(name+" is "+how, name, write(name, text, false))
			}
		}
		data := write("", "", false)
		with := func(more string) []byte {
			return append(append(slices.Clone(data[:len(data)-1]), ","+more...), '}')
		}
		for how, more := range map[string]string{
			"unknown members":              `"note":{"a":[1,null]},"Keep":["kept"],"VALUE":1`,
			"an unknown member twice":      `"note":1,"note":2`,
			"a name twice, deep":           `"note":{"a":1,"a":2}`,
			"invalid UTF-8 in one unknown": "\"note\":\"\xff\"",
			"invalid UTF-8 in a name":      "\"\xff\":1",
			"an unknown member, deep":      `"note":` + strings.Repeat("[", 900) + strings.Repeat("]", 900),
			"a huge number":                `"note":1e99999999`,
		} {
			check(how, "", with(more))
		}
		check("a byte order mark", "", append([]byte("\ufeff"), data...))
		check("white space", "", append([]byte("\r\n "), append(slices.Clone(data), "\t\n"...)...))
		if kind == revoke.KindSubject {
			check("keep is empty", "keep", write("keep", `null`, false))
		}
	}
	if variants < 500 {
		t.Errorf("%d variants", variants)
	}
	t.Logf("%d variants", variants)
}

// A number is what it is worth, however it is written: readers of other languages see
// nothing else of it.
func TestNumbersByTheirWorth(t *testing.T) {
	for _, v := range []string{`1`, `1.0`, `1e0`, `10e-1`} {
		for _, ms := range []string{`1767225600000`, `1767225600000.0`, `1.7672256e12`, `1.7672256E+12`, `17672256e5`, `1767225600000000e-3`} {
			m, fault := decode(testSubject, []byte(`{"v":`+v+`,"iss":"`+testIssuer+`","kind":"subject","value":"u","before":`+ms+`}`))
			if fault != 0 || len(m.unusable) > 0 || !m.Event.Before.Equal(at(testMillis)) {
				t.Errorf("v %s, before %s: %v, unusable %v, fault %d", v, ms, m.Event.Before, m.unusable, fault)
			}
		}
	}
}

// What cannot be used leaves the bound of what an event can do, by the clock that the
// other member tells.
func TestUnusableTimesTogether(t *testing.T) {
	s := slack(t)
	day := (24 * time.Hour).Milliseconds()
	for _, tt := range []struct {
		before, at string
		want       time.Time
	}{
		{`null`, `null`, at(testMillis).Add(s)},
		{`null`, fmt.Sprint(testMillis + 5000), at(testMillis + 5000).Add(s)},          // the broker's clock is behind
		{`null`, fmt.Sprint(testMillis - 5000), at(testMillis).Add(s)},                 // or the event old
		{`null`, fmt.Sprint(testMillis + 2*day), at(testMillis + day).Add(s)},          // or the publisher's wrong
		{fmt.Sprint(testMillis + 5000), `null`, at(testMillis + 5000)},                 // believed
		{fmt.Sprint(testMillis + 2*day), `null`, at(testMillis + day).Add(s)},          // up to the bound
		{fmt.Sprint(testMillis - 5000), `0`, at(testMillis - 5000)},                    // as ever
		{fmt.Sprint(testMillis + 5000), fmt.Sprint(testMillis), at(testMillis).Add(s)}, // as ever: clamped
	} {
		r := newReplica(t)
		if _, fault := r.take(t, testSubject, []byte(`{"v":1,"iss":"`+testIssuer+`","kind":"subject","value":"u","before":`+tt.before+`,"at":`+tt.at+`}`)); fault != 0 {
			t.Fatal(fault)
		}
		e := revoke.Event{Issuer: testIssuer, Kind: revoke.KindSubject, Value: "u"}
		for iat, want := range map[time.Time]bool{tt.want: true, tt.want.Add(2 * time.Millisecond): false} {
			if got := r.revoked(token(&e, iat, ""), 0); got != want {
				t.Errorf("before %s, at %s: iat %s is revoked: %t", tt.before, tt.at, iat.Sub(at(testMillis)), got)
			}
		}
	}
	// A token whose revocation says nothing of its life, through a log server whose clock
	// is an hour behind.
	r := newReplica(t)
	r.take(t, Subject(testIssuer, revoke.KindToken), fmt.Appendf(nil, `{"v":1,"iss":"%s","kind":"token","value":"jti","until":"soon","at":%d}`, testIssuer, testMillis+time.Hour.Milliseconds()))
	e := revoke.Event{Issuer: testIssuer, Kind: revoke.KindToken, Value: "jti"}
	if !r.revoked(token(&e, r.ts, ""), 2*time.Hour) {
		t.Error("a token's revocation ends before the token, by the clock of who published it")
	}
}

// FuzzUnusable: whenever v, iss, kind, value and the subject are right, the event is
// applied and revokes its token, whatever else it says.
func FuzzUnusable(f *testing.F) {
	for i, name := range optional {
		for how, text := range unusableValues(name) {
			if how == "megabytes, nearly" {
				continue // as good as the shorter one, and slow to vary
			}
			f.Add(uint8(i), "v", []byte(`,"`+name+`":`+text))
		}
	}
	f.Add(uint8(0), "ä \" \\", []byte(`,"a":1,"a":2,"keep":[],"keep":["x"]`))
	f.Add(uint8(6), "", []byte(`,"value":null`))
	f.Add(uint8(6), "", []byte(`,"before":1.7672256e12 , "at" : -0`))
	f.Fuzz(func(t *testing.T, k uint8, value string, more []byte) {
		e := revoke.Event{Issuer: testIssuer, Kind: revoke.Kind(1 + int(k)%int(revoke.KindIssuer)), Value: value}
		switch e.Kind {
		case revoke.KindKey:
			e.Value = thumbprint
		case revoke.KindIssuer:
			e.Value = ""
		}
		if _, err := (&revoke.Event{Issuer: e.Issuer, Kind: e.Kind, Value: e.Value}).DropUnusable(); err != nil {
			return
		}
		head := []byte(`{"v":1,"iss":"` + testIssuer + `","kind":"` + e.Kind.String() + `"`)
		if e.Value != "" {
			head = append(head, `,"value":`...)
			head, _ = strictjson.AppendText(head, e.Value)
		}
		data := append(append(head, more...), '}')
		if len(data) > MaxMessageBytes {
			return
		}
		// Is it one object, in which nothing that counts is there twice?
		names := map[string]int{}
		if strictjson.Salvage(data, func(name string, v strictjson.Value, _ bool) {
			if name != "value" || e.Value != "" || v.Kind() != 'n' && v.JSON() != `""` {
				names[name]++
			}
		}) != nil {
			return
		}
		for _, name := range []string{"v", "iss", "kind"} {
			if names[name] != 1 {
				return
			}
		}
		if e.Value == "" && names["value"] > 0 || e.Value != "" && names["value"] != 1 {
			return
		}
		r := newReplica(t)
		m, fault := r.take(t, Subject(e.Issuer, e.Kind), data)
		if fault != 0 {
			if e.Value == "" && m.Member == "value" { // twice null: for an issuer that is ambiguous, too
				return
			}
			t.Fatalf("fault %q, member %q", fault, m.Member)
		}
		if more, err := m.Event.DropUnusable(); r.list.Stats(r.now).Applied[e.Kind] != 1 || more != nil || err != nil {
			t.Fatalf("applied as %+v, of which more is unusable: %v, %v", m.Event, more, err)
		}
		// A token issued long before every cutoff, in a session that nobody can have named.
		until := m.Event.Until
		if until.IsZero() || until.After(r.ts) {
			if !r.revoked(token(&e, time.UnixMilli(0), strings.Repeat("s", revoke.MaxValueBytes+1)), 0) {
				t.Fatalf("not revoked by %+v", m.Event)
			}
		}
	})
}

// What is wrong with messages is logged at once, then counted, without what they say.
func TestTroubleIsLoggedAndCounted(t *testing.T) {
	r := newReplica(t)
	const secret = "s3cret"
	bad := map[string]string{
		`fault=malformed member=value`:         `{"v":1,"iss":"` + testIssuer + `","kind":"subject","value":{"x":"` + secret + `"}}`,
		`fault=malformed member=v`:             `{"v":"` + secret + `"}`,
		`fault=malformed member=iss`:           `{"v":1,"iss":["` + secret + `"],"kind":"subject"}`,
		`fault=malformed member=kind`:          `{"v":1,"iss":"` + testIssuer + `","kind":7,"value":"` + secret + `"}`,
		`fault=malformed messages=`:            `{"v":1,"` + secret,
		`fault="unknown version" member=v`:     `{"v":2,"x":"` + secret + `"}`,
		`fault="not of its subject" messages=`: `{"v":1,"iss":"` + secret + `","kind":"subject","value":"` + secret + `"}`,
		`member=reason`:                        `{"v":1,"iss":"` + testIssuer + `","kind":"subject","value":"` + secret + `","reason":["` + secret + `"]}`,
		`member=keep`:                          `{"v":1,"iss":"` + testIssuer + `","kind":"subject","value":"` + secret + `","keep":["` + secret + `",1]}`,
	}
	for want, data := range bad {
		r.log.Reset()
		r.take(t, testSubject, []byte(data))
		if line := r.log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, want) || !strings.Contains(line, "level=WARN") || !strings.Contains(line, fmt.Sprint("sequence=", r.n)) {
			t.Errorf("logged %q, want one line with %q", line, want)
		}
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("logged what the message said: %q", r.log.String())
		}
	}
	r.log.Reset()
	for range 1000 {
		r.take(t, testSubject, []byte(`{"v":1,"iss":"`+testIssuer+`","kind":"subject","value":1}`))
	}
	if r.log.Len() > 0 {
		t.Errorf("logged within the minute: %q", r.log.String())
	}
	r.feed.Tick(r.now.Add(59 * time.Second))
	if r.log.Len() > 0 {
		t.Errorf("logged within the minute: %q", r.log.String())
	}
	r.feed.Tick(r.now.Add(time.Minute))
	if line := r.log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "fault=malformed member=value messages=1000 ") {
		t.Errorf("after a minute: %q, want one line that counts 1000 messages", line)
	}
	r.log.Reset()
	r.take(t, testSubject, []byte(`{"v":1,"iss":"`+testIssuer+`","kind":"subject","value":"x","at":null}`))
	r.take(t, testSubject, []byte(`{"v":1,"iss":"`+testIssuer+`","kind":"subject","value":"y","at":null}`))
	r.feed.Close(r.now)
	if got := strings.Count(r.log.String(), "member=at"); got != 2 {
		t.Errorf("the last is lost when the feed is closed: %q", r.log.String())
	}
}
