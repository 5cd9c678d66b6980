package wire

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
		if IsInbox(reply) != want {
			t.Errorf("%q: want %t", reply, want)
		}
	}
}

var questionSeeds = []struct {
	data string
	ok   bool
}{
	{string(EncodeQuestion(Question{Sequence: 7, Digest: [32]byte{1}, Wait: time.Second})), true},
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
		q, ok := DecodeQuestion(data)
		if !ok {
			if q != (Question{}) {
				t.Fatal("refused, but not empty")
			}
			return
		}
		if q.Sequence == 0 || q.Wait < 0 || q.Wait > maxAnswerWait {
			t.Fatalf("%+v", q)
		}
		if again, ok := DecodeQuestion(EncodeQuestion(q)); !ok || again != q {
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
		a, ok := DecodeAnswer(data)
		if !ok {
			return
		}
		if len(a.Name) > MaxNameBytes || !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, func(r rune) bool { return !unicode.IsPrint(r) }) ||
			!plainID(a.ID) || a.Staleness < 0 || a.Staleness > revoke.MaxLifetime {
			t.Fatalf("%+v", a)
		}
		once, err := EncodeAnswer(a)
		if err != nil {
			t.Fatal(err)
		}
		again, ok := DecodeAnswer(once)
		if !ok || !reflect.DeepEqual(again, a) {
			t.Fatalf("decode(encode(a)) = %+v, %t, want %+v", again, ok, a)
		}
		if twice, _ := EncodeAnswer(again); !bytes.Equal(once, twice) {
			t.Fatal("not canonical")
		}
	})
}

// The seeds do what they are there for.
func TestAnnounceSeeds(t *testing.T) {
	for _, s := range questionSeeds {
		if _, ok := DecodeQuestion([]byte(s.data)); ok != s.ok {
			t.Errorf("question %s: %t", s.data, ok)
		}
	}
	for _, s := range answerSeeds {
		if _, ok := DecodeAnswer([]byte(s.data)); ok != s.ok {
			t.Errorf("answer %s: %t", s.data, ok)
		}
	}
	for _, size := range []int{maxQuestionBytes + 1, maxAnswerBytes + 1} {
		pad := strings.Repeat(" ", size)
		if _, ok := DecodeQuestion([]byte(questionSeeds[0].data + pad)); ok {
			t.Error("question of any size")
		}
		if _, ok := DecodeAnswer([]byte(answerSeeds[0].data + pad)); ok && size > maxAnswerBytes {
			t.Error("answer of any size")
		}
	}
}

// Bytes at their limits: a question, an answer, an id and a reply of just the length that
// is taken, and of one more.
func TestQuestionsAndAnswersAtTheirLimits(t *testing.T) {
	pad := func(data string, n int) []byte { return []byte(data + strings.Repeat(" ", n-len(data))) }
	q := string(EncodeQuestion(Question{Sequence: 1}))
	if _, ok := DecodeQuestion(pad(q, 512)); !ok {
		t.Error("a question of 512 bytes is refused")
	}
	if _, ok := DecodeQuestion(pad(q, 513)); ok {
		t.Error("one of 513 is taken")
	}
	ans := func(id string) string {
		data, err := EncodeAnswer(Answer{ID: id, Outcome: OutcomeWaiting, Staleness: revoke.MaxLifetime})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for id, want := range map[string]bool{
		strings.Repeat("i", 64): true, strings.Repeat("i", 65): false, "": false, "azAZ09": true, "a-b": false, "a/": false, "a:": false, "@": false, "[": false, "`": false, "{": false, "é": false,
	} {
		if _, ok := DecodeAnswer([]byte(ans(id))); ok != want {
			t.Errorf("id %q: %t", id, ok)
		}
	}
	if _, ok := DecodeAnswer(pad(ans("a"), 2<<10)); !ok {
		t.Error("an answer of 2 KiB is refused")
	}
	if _, ok := DecodeAnswer(pad(ans("a"), 2<<10+1)); ok {
		t.Error("one of a byte more is taken")
	}
	if _, ok := DecodeAnswer([]byte(strings.Replace(ans("a"), `"staleness":315`, `"staleness":316`, 1))); ok {
		t.Error("a staleness of more than ten years is taken")
	}
	if a, ok := DecodeAnswer([]byte(ans("a"))); !ok || a.Staleness != revoke.MaxLifetime || a.State != revoke.StateSyncing || !a.At.IsZero() {
		t.Errorf("%+v", a)
	}
	for n, want := range map[int]bool{256: true, 257: false} {
		if IsInbox("_INBOX."+strings.Repeat("x", n-7)) != want {
			t.Errorf("an inbox of %d bytes", n)
		}
	}
}
