package job

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

var good = Job{Report: "sales", For: revoke.Identity{
	Issuer: "https://reports.example.com", Token: "t", Session: "s", Subject: "alice", Client: "app", Key: "k",
	IssuedAt: time.UnixMilli(1_700_000_000_000).UTC(), ExpiresAt: time.UnixMilli(1_700_000_900_000).UTC(),
}}

// What is no job is said to be none, without a word of it.
func TestRead(t *testing.T) {
	data, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	if j, err := Read(data); err != nil || j != good {
		t.Errorf("%+v, %v", j, err)
	}
	for _, bad := range []string{"", "secret", `{"report":1}`, `{}`, `[]`, `null`, `{"report":"secret","for":"secret"}`, `{"report":"secret","for":{"exp":"secret"}}`} {
		if j, err := Read([]byte(bad)); err == nil || j != (Job{}) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %+v, %v", bad, j, err)
		}
	}
}

// FuzzRead: what lies in the queue is read or refused, and a job that is queued again is the same.
func FuzzRead(f *testing.F) {
	data, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(data), "", "null", `{"report":"r"}`, `{"report":"r","for":{"iss":"i","sub":"s"}}`, `{"report":"r","for":{"exp":-1}}`, `{"report":1}`, `{"report":"r"}{}`, `{"report":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := Read(data)
		if err != nil {
			if j != (Job{}) {
				t.Errorf("refused, and read as %+v", j)
			}
			return
		}
		if j.Report == "" {
			t.Error("a job without a report")
		}
		again, err := json.Marshal(j)
		if err != nil {
			t.Fatalf("%+v cannot be queued again: %v", j, err)
		}
		k, err := Read(again)
		if err != nil {
			t.Fatalf("%s is read and %s is not: %v", data, again, err)
		}
		if third, err := json.Marshal(k); err != nil || !bytes.Equal(third, again) {
			t.Errorf("%s becomes %s, %v", again, third, err)
		}
	})
}
