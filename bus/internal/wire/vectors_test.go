package wire

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

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
	data, err := os.ReadFile("../../testdata/wire/events.json")
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
	trusting, err := NewTrust([]ed25519.PublicKey{key})
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
			if !trusting.Accepts(msg, &m.Event) {
				fault, m.Member = revoke.FaultUnsigned, trusting.Lacks(&m.Event)
			}
		}
		if (fault == 0) != want.Applied {
			t.Errorf("%s: fault %q, member %q", v.Name, fault, m.Member)
			continue
		}
		if fault != 0 {
			refused++
			if fault.String() != want.Fault || m.Member != want.Member {
				t.Errorf("%s: fault %q, member %q, want %q, %q", v.Name, fault, m.Member, want.Fault, want.Member)
			}
			continue
		}
		applied++
		unusable := slices.Sorted(slices.Values(m.unusable))
		if m.Event.Issuer != want.Iss || m.Event.Kind.String() != want.Kind || m.Event.Value != want.Value || !slices.Equal(unusable, want.Unusable) {
			t.Errorf("%s: %+v, unusable %q, want %+v", v.Name, m.Event, unusable, want)
			continue
		}
		r := newReplica(t)
		r.ts, r.now = at(v.Timestamp), revoke.At(at(v.Timestamp))
		r.take(t, v.Subject, data)
		cutoff := at(v.Timestamp)
		if want.Before != 0 {
			cutoff = at(want.Before)
			if r.revoked(token(&m.Event, cutoff.Add(time.Millisecond), ""), 0) {
				t.Errorf("%s: revokes what was issued after %d", v.Name, want.Before)
			}
		}
		if !r.revoked(token(&m.Event, cutoff, ""), 0) {
			t.Errorf("%s: does not revoke what was issued at %d", v.Name, cutoff.UnixMilli())
		}
		for _, sid := range []string{"s1", "s2"} {
			if want.Kind == "subject" && r.revoked(token(&m.Event, cutoff, sid), 0) == slices.Contains(want.Keep, sid) {
				t.Errorf("%s: spares %s: %t", v.Name, sid, !slices.Contains(want.Keep, sid))
			}
		}
		lives := at(want.Until).Sub(r.ts)
		if !r.revoked(token(&m.Event, cutoff, ""), lives) || r.revoked(token(&m.Event, cutoff, ""), lives+13*time.Minute) {
			t.Errorf("%s: does not live until %d", v.Name, want.Until)
		}
	}
	if applied < 60 || refused < 30 {
		t.Errorf("%d vectors are applied and %d refused", applied, refused)
	}
}
