package bus

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/printtest"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// TestNothingPrintsASecret prints every exported type in every way: the key that signs
// events and the password of the connection are nowhere (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const password = "the-password-of-the-connection"
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Servers: "nats://user:" + password + "@127.0.0.1:1", Options: []nats.Option{nats.UserInfo("user", password)},
		List: list, Issuers: []string{testIssuer}, Signer: private, Trust: []ed25519.PublicKey{public},
	}
	m, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	table := map[string]any{
		"Config": cfg, "Member": m, "Status": m.Status(), "Publishing": m.Status().Publishing,
	}
	without := []string{"Announcement", "Result", "StreamConfig"}
	printtest.HoldsAll(t, ".", table, without...)
	for name, v := range table { // while the follower tries to connect
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
	b := func(l *revoke.List) *core {
		return &core{Transport: &transport.Transport{StreamName: "S"}, cfg: Config{Issuers: []string{"i"}, List: l}}
	}
	for want, v := range map[string]any{
		`bus.Config{Servers: true, Conn: false, Issuers: ["i"], Stream: "s", Name: "n", Signer: true, Trust: 2, OutboxFile: "o", NoHeartbeats: true, NoAnnouncements: false}`: Config{Servers: "nats://u:p@h", Issuers: []string{"i"}, Stream: "s", Name: "n", Signer: ed25519.PrivateKey{}, Trust: make([]ed25519.PublicKey, 2), OutboxFile: "o", NoHeartbeats: true},
		`bus.Member(nil)`: (*Member)(nil),
		`bus.Member{stream: "S", issuers: ["i"], list: none}`:                  &Member{core: b(nil)},
		`bus.Member{stream: "S", issuers: ["i"], list: ` + list.String() + `}`: &Member{core: b(list)},
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if s, ok := v.(slog.LogValuer); ok && s.LogValue().String() != want {
			t.Errorf("logged as %s, want %s", s.LogValue(), want)
		}
	}
	data, err := json.Marshal(Config{Issuers: []string{"i"}})
	if err != nil || !strings.Contains(string(data), `bus.Config{Servers: false`) {
		t.Errorf("%s, %v", data, err)
	}
}

// The URL of a server may hold a token in the place of a name, and a name is nobody's
// business either: neither the status nor the log shows them (invariant 10).
func TestServerIsNamedWithoutCredentials(t *testing.T) {
	const secret = "the-token-of-the-connection"
	for credentials, password := range map[string]string{secret: "", secret + ":password": "password", "user:" + secret: secret} {
		list, err := revoke.NewList(revoke.Config{})
		if err != nil {
			t.Fatal(err)
		}
		for name, list := range map[string]*revoke.List{"publishes": nil, "follows": list} {
			s := scripted.New(t)
			s.Password = password
			var log scripted.Pages
			m, err := Join(t.Context(), Config{
				Servers: "nats://" + credentials + "@127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0)},
				List: list, Issuers: []string{testIssuer}, Logger: log.Everything(),
			})
			if err != nil {
				t.Fatal(err)
			}
			await := func(what string, ok func(Status) bool) {
				t.Helper()
				for deadline := time.Now().Add(10 * time.Second); !ok(m.Status()); runtime.Gosched() {
					if time.Now().After(deadline) {
						t.Fatalf("%s: not %s: %+v", name, what, m.Status())
					}
				}
			}
			await("connected", func(st Status) bool { return st.Connected })
			if st := m.Status(); st.Server != "nats://127.0.0.1:4222" {
				t.Errorf("%s: connected to %q", name, strings.ReplaceAll(st.Server, secret, "SECRET"))
			}
			s.Cut()
			await("connected again", func(st Status) bool { return log.Count("bus: connected") > 0 && st.Connected })
			m.Close()
			if text := log.String(); strings.Contains(text, secret) {
				t.Errorf("%s: logged %s", name, strings.ReplaceAll(text, secret, "SECRET"))
			}
		}
	}
}
