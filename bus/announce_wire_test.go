package bus

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/revoke"
)

func TestIsInbox(t *testing.T) {
	for reply, want := range map[string]bool{
		"_INBOX.a.b": true, "_INBOX_auth.a.b": true, "_R_.a.b": true,
		"": false, "_INBOX": false, "_R_": false, "$JS.API.STREAM.PURGE.S": false, HeartbeatSubject: false,
		"revocations.v1.x.session": false, "_INBOX.*": false, "_INBOX.>": false, "_INBOX.a b": false, "_INBOX.a\r\nPUB x": false,
		"_INBOX." + strings.Repeat("x", 300): false,
	} {
		if isInbox(reply) != want {
			t.Errorf("%q: want %t", reply, want)
		}
	}
}

var questionSeeds = []struct {
	data string
	ok   bool
}{
	{string(encodeQuestion(question{sequence: 7, digest: [32]byte{1}, wait: time.Second})), true},
	{`{"v":1,"seq":1,"digest":"` + strings.Repeat("Aa", 32) + `","wait":9223372036854775807,"new":[]}`, true},
	{`{"v":2,"seq":1,"digest":"` + strings.Repeat("00", 32) + `","wait":1}`, false},
	{`{"v":1,"seq":0,"digest":"` + strings.Repeat("00", 32) + `","wait":1}`, false},
	{`{"v":1,"seq":1,"digest":"00","wait":1}`, false},
	{`{"v":1,"seq":1,"digest":"` + strings.Repeat("0g", 32) + `","wait":1}`, false},
	{`{"v":1,"seq":1,"seq":1,"digest":"` + strings.Repeat("00", 32) + `","wait":1}`, false},
	{`{"v":1,"seq":1,"digest":"` + strings.Repeat("00", 32) + `","wait":-1}`, false},
}

func FuzzDecodeQuestion(f *testing.F) {
	for _, s := range questionSeeds {
		f.Add([]byte(s.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, ok := decodeQuestion(data)
		if !ok {
			if q != (question{}) {
				t.Fatal("refused, but not empty")
			}
			return
		}
		if q.sequence == 0 || q.wait < 0 || q.wait > maxAnswerWait {
			t.Fatalf("%+v", q)
		}
		if again, ok := decodeQuestion(encodeQuestion(q)); !ok || again != q {
			t.Fatalf("decode(encode(q)) = %+v, %t, want %+v", again, ok, q)
		}
	})
}

var answerSeeds = []struct {
	data string
	ok   bool
}{
	{`{"v":1,"id":"ABC","name":"replica-1","outcome":"applied","at":1767225600000,"state":"fresh","staleness":15000}`, true},
	{`{"v":1,"id":"ABC","outcome":"waiting","state":"stale","staleness":0}`, true},
	{`{"v":1,"id":"ABC","outcome":"applied","state":"fresh","staleness":0}`, false},
	{`{"v":1,"id":"ABC","outcome":"waiting","at":1767225600000,"state":"fresh","staleness":0}`, false},
	{`{"v":1,"id":"ABC","outcome":"yes","state":"fresh","staleness":0}`, false},
	{`{"v":1,"id":"A.C","outcome":"gone","state":"fresh","staleness":0}`, false},
	{`{"v":1,"id":"","outcome":"gone","state":"fresh","staleness":0}`, false},
	{`{"v":1,"id":"ABC","outcome":"gone","state":"","staleness":0}`, false},
	{`{"v":1,"id":"ABC","outcome":"gone","state":"fresh","staleness":-1}`, false},
}

func FuzzDecodeAnswer(f *testing.F) {
	for _, s := range answerSeeds {
		f.Add([]byte(s.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, ok := decodeAnswer(data)
		if !ok {
			return
		}
		if len(a.name) > maxNameBytes || !utf8.ValidString(a.name) || strings.ContainsFunc(a.name, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			!plainID(a.id) || a.staleness < 0 || a.staleness > revoke.MaxLifetime {
			t.Fatalf("%+v", a)
		}
		once, err := encodeAnswer(a)
		if err != nil {
			t.Fatal(err)
		}
		again, ok := decodeAnswer(once)
		if !ok || !reflect.DeepEqual(again, a) {
			t.Fatalf("decode(encode(a)) = %+v, %t, want %+v", again, ok, a)
		}
		if twice, _ := encodeAnswer(again); !bytes.Equal(once, twice) {
			t.Fatal("not canonical")
		}
	})
}

// The seeds do what they are there for.
func TestAnnounceSeeds(t *testing.T) {
	for _, s := range questionSeeds {
		if _, ok := decodeQuestion([]byte(s.data)); ok != s.ok {
			t.Errorf("question %s: %t", s.data, ok)
		}
	}
	for _, s := range answerSeeds {
		if _, ok := decodeAnswer([]byte(s.data)); ok != s.ok {
			t.Errorf("answer %s: %t", s.data, ok)
		}
	}
	for _, size := range []int{maxQuestionBytes + 1, maxAnswerBytes + 1} {
		pad := strings.Repeat(" ", size)
		if _, ok := decodeQuestion([]byte(questionSeeds[0].data + pad)); ok {
			t.Error("question of any size")
		}
		if _, ok := decodeAnswer([]byte(answerSeeds[0].data + pad)); ok && size > maxAnswerBytes {
			t.Error("answer of any size")
		}
	}
}

// Bytes at their limits: a question, an answer, an id and a reply of just the length that
// is taken, and of one more.
func TestQuestionsAndAnswersAtTheirLimits(t *testing.T) {
	pad := func(data string, n int) []byte { return []byte(data + strings.Repeat(" ", n-len(data))) }
	q := string(encodeQuestion(question{sequence: 1}))
	if _, ok := decodeQuestion(pad(q, 512)); !ok {
		t.Error("a question of 512 bytes is refused")
	}
	if _, ok := decodeQuestion(pad(q, 513)); ok {
		t.Error("one of 513 is taken")
	}
	ans := func(id string) string {
		data, err := encodeAnswer(answer{id: id, outcome: outcomeWaiting, staleness: revoke.MaxLifetime})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for id, want := range map[string]bool{
		strings.Repeat("i", 64): true, strings.Repeat("i", 65): false, "": false, "azAZ09": true, "a-b": false, "a/": false, "a:": false, "@": false, "[": false, "`": false, "{": false, "é": false,
	} {
		if _, ok := decodeAnswer([]byte(ans(id))); ok != want {
			t.Errorf("id %q: %t", id, ok)
		}
	}
	if _, ok := decodeAnswer(pad(ans("a"), 2<<10)); !ok {
		t.Error("an answer of 2 KiB is refused")
	}
	if _, ok := decodeAnswer(pad(ans("a"), 2<<10+1)); ok {
		t.Error("one of a byte more is taken")
	}
	if _, ok := decodeAnswer([]byte(strings.Replace(ans("a"), `"staleness":315`, `"staleness":316`, 1))); ok {
		t.Error("a staleness of more than ten years is taken")
	}
	if a, ok := decodeAnswer([]byte(ans("a"))); !ok || a.staleness != revoke.MaxLifetime || a.state != revoke.StateSyncing || !a.at.IsZero() {
		t.Errorf("%+v", a)
	}
	for n, want := range map[int]bool{256: true, 257: false} {
		if isInbox("_INBOX."+strings.Repeat("x", n-7)) != want {
			t.Errorf("an inbox of %d bytes", n)
		}
	}
}
