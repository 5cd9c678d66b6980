package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

func TestLives(t *testing.T) {
	var kept Lives
	for value, want := range map[string]time.Duration{
		"15m": 15 * time.Minute, "1h15m0s": 75 * time.Minute, "900": 900 * time.Second, "900s": 900 * time.Second, "1.5h": 90 * time.Minute,
		"never": 0, "NEVER": 0, "": 0, "x": 0, "-1": 0, "99999999999999999999": 0, "9223372036854775807": 0,
	} {
		m := nats.NewMsg("s")
		m.Header.Set(jetstream.MsgTTLHeader, value)
		for range 2 {
			if got := kept.Of(m); got != want {
				t.Errorf("%q: %s, want %s", value, got, want)
			}
			if got := kept.Of(&nats.Msg{}); got != 0 {
				t.Errorf("no header: %s", got)
			}
		}
	}
}

// TestDigestOnTheWire: a digest travels as it is, and one that cannot be read costs the
// heartbeat nothing.
func TestDigestOnTheWire(t *testing.T) {
	hb := replica.Heartbeat{Nonce: [16]byte{1}, Time: time.UnixMilli(1_767_225_600_000), Name: "a"}
	for _, d := range []*replica.Digest{nil, {}, {Sequence: 1, Count: 0, Sum: [32]byte{31: 1}}, {Sequence: 1 << 52, Count: 1 << 40, Sum: [32]byte{0: 0xff}}} {
		hb.Digest = d
		data, err := EncodeHeartbeat(hb)
		if err != nil {
			t.Fatal(err)
		}
		got, fault := decodeHeartbeat(data)
		switch {
		case fault != 0:
			t.Errorf("%s: %s", data, fault)
		case (d == nil) != (got.Digest == nil), d != nil && *got.Digest != *d:
			t.Errorf("%s: %+v, want %+v", data, got.Digest, d)
		}
	}
	sum := strings.Repeat("0f", 32)
	for _, digest := range []string{
		`null`, `1`, `"x"`, `[]`, `true`, `{}`, `{"alg":2}`, `{"alg":"1"}`, `{"alg":1.5}`, `{"alg":null}`,
		`{"alg":1,"seq":1}`, `{"alg":1,"count":1}`, `{"alg":1,"sum":"` + sum + `"}`,
		`{"alg":1,"seq":0,"count":1,"sum":"` + sum + `"}`, `{"alg":1,"seq":-1,"count":1,"sum":"` + sum + `"}`,
		`{"alg":1,"seq":1,"count":-1,"sum":"` + sum + `"}`, `{"alg":1,"seq":"1","count":1,"sum":"` + sum + `"}`,
		`{"alg":1,"seq":1e400,"count":1,"sum":"` + sum + `"}`, `{"alg":1,"seq":1,"count":1,"sum":"` + sum[1:] + `"}`,
		`{"alg":1,"seq":1,"count":1,"sum":"` + sum + `00"}`, `{"alg":1,"seq":1,"count":1,"sum":"` + strings.Repeat("zz", 32) + `"}`,
		`{"alg":1,"seq":1,"count":1,"sum":1}`,
	} {
		data := `{"v":1,"nonce":"` + testNonce + `","ts":1767225600000,"digest":` + digest + `}`
		got, fault := decodeHeartbeat([]byte(data))
		if fault != 0 || got.Digest != nil {
			t.Errorf("%s: %+v, %s; want no digest and no fault", digest, got.Digest, fault)
		}
	}
	// A version to come may say more.
	got, fault := decodeHeartbeat([]byte(`{"v":1,"nonce":"` + testNonce + `","ts":1767225600000,"digest":{"alg":1,"seq":7,"count":3,"sum":"` + sum + `","x":[]}}`))
	if fault != 0 || got.Digest == nil || got.Digest.Sequence != 7 || got.Digest.Count != 3 || got.Digest.Sum[0] != 0x0f {
		t.Errorf("%+v, %s", got.Digest, fault)
	}
}
