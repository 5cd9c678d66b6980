package publish

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

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
