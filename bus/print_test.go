package bus

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/nats-io/nats.go"
)

// TestNothingPrintsASecret prints every exported type in every way: the key that signs
// events and the password of the connection are nowhere (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const password = "the-password-of-the-connection"
	conn, err := Dial(context.Background(), "nats://user:"+password+"@127.0.0.1:1", DialConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := Config{Issuer: testIssuer, Signer: private, Trust: []ed25519.PublicKey{public}}
	b, err := Open(t.Context(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Follow(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := map[string]any{
		"Config": cfg, "Bus": b, "Conn": conn, "Follower": f, "FollowerStatus": f.Status(), "Stats": b.Stats(),
		"DialConfig": DialConfig{CredentialsFile: "file", Options: []nats.Option{nats.UserInfo("user", password)}},
	}
	without := []string{"Announcement", "Receipt", "Replica", "Result", "StreamConfig", "UseConfig", "WaitConfig", "WaitReceipt"}
	for _, name := range printtest.Types(t, ".") {
		if _, ok := table[name]; !ok && !strings.Contains(" "+strings.Join(without, " ")+" ", " "+name+" ") {
			t.Errorf("%s is not looked at", name)
		}
	}
	for name, v := range table { // while the Follower tries to connect
		out := printtest.Prints(v)
		for secret, raw := range map[string][]byte{"private key": private.Seed(), "password": []byte(password)} {
			if found := printtest.Leaks(out, printtest.Forms(raw)); len(found) > 0 {
				t.Errorf("%s shows the %s: %q", name, secret, found)
			}
		}
	}
}

// What is printed says what it is.
func TestStringsSayWhatItIs(t *testing.T) {
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b := &Bus{stream: "S", cfg: Config{Issuer: "i"}}
	f := &Follower{b: b, list: list}
	for want, v := range map[string]any{
		`bus.Config{Issuer: "i", Stream: "s", Name: "n", Signer: true, Trust: 2, OutboxFile: "o", NoHeartbeats: true, NoAnnouncements: false}`: Config{Issuer: "i", Stream: "s", Name: "n", Signer: ed25519.PrivateKey{}, Trust: make([]ed25519.PublicKey, 2), OutboxFile: "o", NoHeartbeats: true},
		`bus.Bus{stream: "S", issuer: "i"}`: b,
		`bus.Bus(nil)`:                      (*Bus)(nil),
		`bus.Conn(nil)`:                     (*Conn)(nil),
		`bus.Follower(nil)`:                 (*Follower)(nil),
		`bus.Follower{stream: "S", list: ` + list.String() + `}`: f,
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s, ok := v.(slog.LogValuer); ok && s.LogValue().String() != want {
			t.Errorf("logged as %s, want %s", s.LogValue(), want)
		}
	}
	data, err := json.Marshal(Config{Issuer: "i"})
	if err != nil || !strings.Contains(string(data), `bus.Config{Issuer: \"i\"`) {
		t.Errorf("%s, %v", data, err)
	}
}
