package bus

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A wireVector is one of those that WIRE.md explains.
type wireVector struct {
	Name, Subject, Payload string
	Base64                 string `json:"payload_base64"`
	Timestamp              int64
	Headers                map[string]string
	Trust                  bool
	Result                 struct {
		Applied          bool
		Fault, Member    string
		Iss, Kind, Value string
		Before, Until    int64
		Keep, Unusable   []string
	}
}

// The vectors say, as data that programs in other languages can read, what messages
// mean; what they expect was computed from WIRE.md and not by this package.
func TestWireVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/wire/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Retention struct {
			Token   int64 `json:"token_lifetime_ms"`
			Session int64 `json:"session_lifetime_ms"`
			Skew    int64 `json:"max_skew_ms"`
		}
		Trust   []string
		Vectors []wireVector
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	retention := revoke.Retention{TokenLifetime: ms(file.Retention.Token), SessionLifetime: ms(file.Retention.Session), MaxSkew: ms(file.Retention.Skew)}
	if retention.TokenLifetime != replicaRetention.TokenLifetime || retention.SessionLifetime != replicaRetention.SessionLifetime || retention.Slack() != replicaRetention.Slack() {
		t.Fatalf("the vectors are of another retention: %+v", retention)
	}
	key, err := base64.RawURLEncoding.DecodeString(file.Trust[0])
	if err != nil {
		t.Fatal(err)
	}
	trusting, err := newTrust([]ed25519.PublicKey{key})
	if err != nil {
		t.Fatal(err)
	}
	applied, refused := 0, 0
	for _, v := range file.Vectors {
		data := []byte(v.Payload)
		if v.Base64 != "" {
			if data, err = base64.StdEncoding.DecodeString(v.Base64); err != nil {
				t.Fatal(err)
			}
		}
		want := v.Result
		m, fault := decode(v.Subject, data)
		if v.Trust && fault == 0 {
			msg := &nats.Msg{Subject: v.Subject, Data: data, Header: nats.Header{}}
			for name, value := range v.Headers {
				msg.Header[name] = []string{value}
			}
			if !trusting.accepts(msg, &m.event) {
				fault, m.member = revoke.FaultUnsigned, trusting.lacks(&m.event)
			}
		}
		if (fault == 0) != want.Applied {
			t.Errorf("%s: fault %q, member %q", v.Name, fault, m.member)
			continue
		}
		if fault != 0 {
			refused++
			if fault.String() != want.Fault || m.member != want.Member {
				t.Errorf("%s: fault %q, member %q, want %q, %q", v.Name, fault, m.member, want.Fault, want.Member)
			}
			continue
		}
		applied++
		unusable := slices.Sorted(slices.Values(m.unusable))
		if m.event.Issuer != want.Iss || m.event.Kind.String() != want.Kind || m.event.Value != want.Value || !slices.Equal(unusable, want.Unusable) {
			t.Errorf("%s: %+v, unusable %q, want %+v", v.Name, m.event, unusable, want)
			continue
		}
		r := newReplica(t)
		r.ts, r.now = at(v.Timestamp), revoke.At(at(v.Timestamp))
		r.take(t, v.Subject, data)
		cutoff := at(v.Timestamp)
		if want.Before != 0 {
			cutoff = at(want.Before)
			if r.revoked(token(&m.event, cutoff.Add(time.Millisecond), ""), 0) {
				t.Errorf("%s: revokes what was issued after %d", v.Name, want.Before)
			}
		}
		if !r.revoked(token(&m.event, cutoff, ""), 0) {
			t.Errorf("%s: does not revoke what was issued at %d", v.Name, cutoff.UnixMilli())
		}
		for _, sid := range []string{"s1", "s2"} {
			if want.Kind == "subject" && r.revoked(token(&m.event, cutoff, sid), 0) == slices.Contains(want.Keep, sid) {
				t.Errorf("%s: spares %s: %t", v.Name, sid, !slices.Contains(want.Keep, sid))
			}
		}
		lives := at(want.Until).Sub(r.ts)
		if !r.revoked(token(&m.event, cutoff, ""), lives) || r.revoked(token(&m.event, cutoff, ""), lives+13*time.Minute) {
			t.Errorf("%s: does not live until %d", v.Name, want.Until)
		}
	}
	if applied < 60 || refused < 30 {
		t.Errorf("%d vectors are applied and %d refused", applied, refused)
	}
}

// The page names what the code knows.
func TestWirePage(t *testing.T) {
	data, err := os.ReadFile("WIRE.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	want := []string{
		metaSchema, metaTokenLifetime, metaSessionLifetime, metaMaxSkew, HeartbeatSubject, SignatureHeader, "`hybridtoken revocation 1`", "`Nats-TTL: " + heartbeatTTL + "`",
		jetstream.MsgTTLHeader, jetstream.MsgIDHeader, jetstream.ExpectedStreamHeader, Subject(testIssuer, revoke.KindSubject)[len(subjectPrefix) : len(subjectPrefix)+2*issuerHashSize],
		"65,536 bytes", "1 to 512 bytes", "at most 64 texts", "at most 256 bytes", "at most 2,048 bytes", "at most 128 bytes", "100000000000", "9007199254740991", "3653 days", "365 days",
	}
	for _, name := range append([]string{"v", "iss", "kind", "value"}, optional...) {
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
	if maxMessageBytes != 65536 || revoke.MaxValueBytes != 512 || revoke.MaxKeep != 64 || revoke.MaxReasonBytes != 256 || maxHeartbeatBytes != 2048 || maxNameBytes != 128 ||
		revoke.MaxLifetime != 3653*24*time.Hour {
		t.Error("a bound that WIRE.md names has changed")
	}
}
