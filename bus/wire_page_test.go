package bus

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The page names what the code knows.
func TestWirePage(t *testing.T) {
	data, err := os.ReadFile("WIRE.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	want := []string{
		"hybridtoken.schema", "hybridtoken.token_lifetime_ms", "hybridtoken.session_lifetime_ms", "hybridtoken.max_skew_ms", wire.HeartbeatSubject, wire.SignatureHeader, "`hybridtoken revocation 1`", "`Nats-TTL: " + wire.HeartbeatTTL + "`",
		jetstream.MsgTTLHeader, jetstream.MsgIDHeader, jetstream.ExpectedStreamHeader, strings.Split(wire.Subject(testIssuer, revoke.KindSubject), ".")[2],
		"65,536 bytes", "1 to 512 bytes", "at most 64 texts", "at most 256 bytes", "at most 2,048 bytes", "at most 128 bytes", "100000000000", "9007199254740991", "3653 days", "365 days",
	}
	for _, name := range []string{"v", "iss", "kind", "value", "id", "before", "keep", "until", "reason", "actor", "at"} {
		want = append(want, "`"+name+"`")
	}
	for k := revoke.KindToken; k <= revoke.KindIssuer; k++ {
		want = append(want, "`"+k.String()+"`")
	}
	for f := revoke.FaultMalformed; f <= revoke.FaultUnsigned; f++ {
		if f != revoke.FaultOversized { // which the stream takes none of
			want = append(want, "`"+f.String()+"`")
		}
	}
	for _, s := range want {
		if !strings.Contains(page, s) {
			t.Errorf("WIRE.md does not say %q", s)
		}
	}
	if wire.MaxMessageBytes != 65536 || revoke.MaxValueBytes != 512 || revoke.MaxKeep != 64 || revoke.MaxReasonBytes != 256 || wire.MaxNameBytes != 128 || revoke.MaxLifetime != 3653*24*time.Hour {
		t.Error("a bound that WIRE.md names has changed")
	}
}
