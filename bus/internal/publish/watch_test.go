package publish

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A stream counts as checked only when the server has answered, also where all that was
// published has expired and there is nothing to be read back.
func TestCheckedOnlyWhenAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		if _, err := b.publisher.Publish(t.Context(), revoke.Event{Kind: revoke.KindToken, Value: "jti", Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		checked := func() time.Duration { return time.Since(b.publisher.Status().Checked) }
		if ago := checked(); ago > time.Minute {
			t.Errorf("checked %s ago while the server answers", ago)
		}
		s.Do(func() { s.Refuses = true })
		s.Cut()
		time.Sleep(time.Hour)
		if ago := checked(); ago < time.Hour {
			t.Errorf("checked %s ago, by a server that was gone for an hour", ago)
		}
		s.Do(func() { s.Refuses = false })
		time.Sleep(time.Minute)
		if ago := checked(); ago > time.Minute {
			t.Errorf("checked %s ago since the server is back", ago)
		}
	})
}

// FuzzDecodeStored: anybody who may write to the inbox can answer a request for a message.
func FuzzDecodeStored(f *testing.F) {
	seeds := []string{
		`{"message":{"subject":"revocations.v1.x.token","seq":7,"data":"eyJ2IjoxfQ==","time":"2026-01-01T00:00:00Z"}}`,
		`{"error":{"code":404,"err_code":10037,"description":"no message found"}}`,
		`{"message":{"subject":7}}`, `{"message":{"data":"!"}}`, `[`, ``,
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	m, err := decodeStored([]byte(seeds[0]))
	if err != nil || m.Subject != "revocations.v1.x.token" || string(m.Data) != `{"v":1}` {
		f.Fatalf("%+v, %v", m, err)
	}
	if _, err := decodeStored([]byte(seeds[1])); !jsadmin.IsCode(err, jetstream.JSErrCodeMessageNotFound) {
		f.Fatalf("no message: %v", err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeStored(data); err != nil && (m.Subject != "" || m.Data != nil) {
			t.Errorf("%+v beside %v", m, err)
		}
	})
}
