package bus

import (
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A setting is a value of one field of a config struct, and what becomes of it.
type setting[C any] struct {
	cfg  C
	says string // the error, which names the field; empty: it is taken
	warn string // the line at Warn; empty: none is logged
}

// settle tries all settings. Each exported field of C has rows, and at least one of them
// is refused or warned of, but for those named in harmless, whose every value can be meant.
func settleConfig[C any](t *testing.T, harmless []string, rows map[string][]setting[C], try func(C) (warnings string, err error)) {
	t.Helper()
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[C]()) {
		if fields[f.Name] = true; !f.IsExported() {
			continue
		}
		if _, ok := rows[f.Name]; ok == slices.Contains(harmless, f.Name) {
			t.Errorf("%T.%s has no rows: add values that cannot be meant, and such as weaken, or name it as harmless", *new(C), f.Name)
		}
	}
	for name, list := range rows {
		if !fields[name] {
			t.Errorf("%T has no field %s", *new(C), name)
		}
		looked := false
		for _, s := range list {
			warnings, err := try(s.cfg)
			looked = looked || s.says != "" || s.warn != ""
			switch {
			case s.says == "" && err != nil, s.says != "" && (err == nil || !strings.Contains(err.Error(), s.says) || !strings.Contains(err.Error(), name)):
				t.Errorf("%s of %+v: error %v, want %q with the field's name", name, s.cfg, err, s.says)
			case s.warn == "" && warnings != "", strings.Count(warnings, "\n") > 1, !strings.Contains(warnings, s.warn):
				t.Errorf("%s of %+v: logged %q, want %q", name, s.cfg, warnings, s.warn)
			}
		}
		if !looked {
			t.Errorf("%T.%s: nothing is refused and nothing warned of", *new(C), name)
		}
	}
}

func TestConfigIsLookedAt(t *testing.T) {
	public := func(b byte) ed25519.PublicKey {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = b
		return ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	}
	many := make([]ed25519.PublicKey, 17)
	for i := range many {
		many[i] = public(byte(i))
	}
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("a text that is something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signer := vectorKey()
	list, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	local, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	var hundreds []string
	for i := range 257 {
		hundreds = append(hundreds, fmt.Sprintf("%s/%d", testIssuer, i))
	}
	broken := func(*nats.Options) error { return fmt.Errorf("Options are broken") }
	rows := map[string][]setting[Config]{
		"Servers": {
			{Config{Servers: "nats://127.0.0.1:4222,127.0.0.1:4223"}, "", ""},
			{Config{Servers: " , "}, "Servers", ""}, {Config{Servers: "redis://x:y"}, "Servers", ""},
			{Config{Servers: "nats://127.0.0.1:4222", Conn: new(nats.Conn)}, "exactly one", ""},
		},
		"Conn": {
			{Config{Conn: new(nats.Conn), InProcess: nowhere{}}, "exactly one", ""},
			{Config{Conn: new(nats.Conn), InboxPrefix: "_INBOX_me"}, "Conn is set", ""},
		},
		"InProcess": {{Config{InProcess: nowhere{}, Conn: new(nats.Conn)}, "exactly one", ""}},
		"Shared":    {{Config{Shared: true}, "without Conn", ""}},
		"CredentialsFile": {
			{Config{CredentialsFile: "/no/such/file"}, "/no/such/file", ""}, {Config{Conn: new(nats.Conn), CredentialsFile: "file"}, "Conn is set", ""},
		},
		"TLS": {
			{Config{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, "", ""},
			{Config{TLS: &tls.Config{InsecureSkipVerify: true}}, "", "TLS.InsecureSkipVerify"},
			{Config{TLS: &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(tls.ConnectionState) error { return nil }}}, "", ""},
			{Config{Conn: new(nats.Conn), TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, "Conn is set", ""},
		},
		"InboxPrefix": {
			{Config{InboxPrefix: "_INBOX_me"}, "", ""}, {Config{InboxPrefix: "_INBOX.me"}, "", ""},
			{Config{InboxPrefix: "a b"}, "wildcards", ""}, {Config{InboxPrefix: "a\r\nPUB x 0"}, "wildcards", ""}, {Config{InboxPrefix: "a.>"}, "wildcards", ""},
			{Config{InboxPrefix: "a*"}, "wildcards", ""}, {Config{InboxPrefix: "a."}, "wildcards", ""}, {Config{InboxPrefix: ".a"}, "wildcards", ""}, {Config{InboxPrefix: "a\x00"}, "wildcards", ""},
		},
		"Options": {
			{Config{Options: []nats.Option{nil, nats.NoReconnect()}}, "", ""},
			{Config{Options: []nats.Option{broken}}, "broken", ""},
			{Config{Options: []nats.Option{nats.Secure(&tls.Config{InsecureSkipVerify: true})}}, "", "TLS.InsecureSkipVerify"},
			{Config{Conn: new(nats.Conn), Options: []nats.Option{nats.NoEcho()}}, "Conn is set", ""},
		},
		"List": {
			{Config{List: list}, "", ""}, {Config{List: list, Issuers: []string{testIssuer}}, "", ""},
			{Config{List: new(revoke.List)}, "NewList", ""}, {Config{List: local}, "List", ""},
		},
		"Issuers": {
			{Config{Issuers: []string{testIssuer}}, "", ""}, {Config{Issuers: []string{testIssuer, testIssuer + "/"}}, "", ""},
			{Config{Issuers: []string{}}, "neither List nor Issuers", ""}, {Config{Issuers: []string{""}}, "empty", ""},
			{Config{Issuers: []string{testIssuer, testIssuer}}, "twice", ""}, {Config{Issuers: hundreds}, "257", ""},
			{Config{Issuers: []string{" " + testIssuer}}, "white space", ""}, {Config{Issuers: []string{strings.Repeat("i", revoke.MaxValueBytes+1)}}, "bytes", ""}, {Config{Issuers: []string{"\xff"}}, "UTF-8", ""},
		},
		"Stream": {
			{Config{Stream: strings.Repeat("s", 64)}, "", ""}, {Config{Stream: "azAZ09-_"}, "", ""},
			{Config{Stream: strings.Repeat("s", 65)}, "65 bytes", ""}, {Config{Stream: "a.b"}, "characters", ""}, {Config{Stream: "*"}, "characters", ""},
		},
		"Name": {
			{Config{Name: strings.Repeat("n", 128)}, "", ""},
			{Config{Name: strings.Repeat("n", 129)}, "129 bytes", ""}, {Config{Name: "\xff"}, "UTF-8", ""},
		},
		"Signer": {
			{Config{Signer: signer}, "", ""},
			{Config{Signer: ed25519.PrivateKey("short")}, "bytes", ""},
			{Config{Signer: signer, Trust: many[1:3]}, "ignore its own events", ""},
		},
		"Trust": {
			{Config{Trust: many[:1]}, "", ""}, {Config{Trust: many[:16]}, "", ""}, {Config{Trust: many[:2], Signer: signer}, "", ""},
			{Config{Trust: []ed25519.PublicKey{}}, "empty and not nil", ""}, {Config{Trust: many}, "17 keys", ""},
			{Config{Trust: []ed25519.PublicKey{many[0], many[0]}}, "twice", ""}, {Config{Trust: []ed25519.PublicKey{many[0][:31]}}, "31 bytes", ""},
			{Config{Trust: []ed25519.PublicKey{make([]byte, 32)}}, "small order", ""},
		},
		"OutboxFile": {
			{Config{OutboxFile: filepath.Join(dir, "box"), Issuers: []string{testIssuer}}, "", ""},
			{Config{OutboxFile: filepath.Join(dir, "box"), List: list}, "publishes nothing", ""},
			{Config{OutboxFile: dir, Issuers: []string{testIssuer}}, "regular", ""}, {Config{OutboxFile: text, Issuers: []string{testIssuer}}, "not an outbox", ""},
		},
	}
	settleConfig(t, []string{"NoHeartbeats", "NoAnnouncements", "Logger"}, rows, func(cfg Config) (string, error) {
		var log scripted.Pages
		var err error
		synctest.Test(t, func(t *testing.T) {
			cfg.Logger = log.Logger()
			if cfg.Servers == "" && cfg.Conn == nil && cfg.InProcess == nil {
				cfg.Servers = "nats://127.0.0.1:4222"
			}
			if cfg.Conn == nil {
				cfg.Options = append(slices.Clone(cfg.Options), nats.SetCustomDialer(scripted.New(t)), nats.SkipHostLookup())
			}
			if cfg.Issuers == nil && cfg.List == nil {
				cfg.Issuers = []string{testIssuer}
			}
			m, joined := Join(t.Context(), cfg)
			if err = joined; err == nil {
				m.Close()
			}
			synctest.Wait()
		})
		return withoutLines(log.String(), "not connected; trying again"), err // the scripted server speaks no TLS
	})
}

func withoutLines(logged, with string) string {
	return strings.Join(slices.DeleteFunc(slices.Collect(strings.Lines(logged)), func(line string) bool { return strings.Contains(line, with) }), "")
}

// nowhere is a server that is never there.
type nowhere struct{}

func (nowhere) InProcessConn() (net.Conn, error) { return nil, errors.New("nowhere") }

// A Member is named by its host where its Config says nothing.
func TestNameOfTheHost(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		for given, want := range map[string]string{"": host, "orders": "orders"} {
			_, b := newScripted(t, Config{Name: given})
			if b.cfg.Name != want || b.StreamName != DefaultStream {
				t.Errorf("name %q of %q, stream %q", b.cfg.Name, given, b.StreamName)
			}
			b.end()
		}
	})
}

// A stream's settings that weaken are named by every Member that publishes to it.
func TestStreamConfigIsLookedAt(t *testing.T) {
	retention := func(token, session, skew time.Duration) StreamConfig {
		return StreamConfig{Retention: revoke.Retention{TokenLifetime: token, SessionLifetime: session, MaxSkew: skew}}
	}
	settleConfig(t, nil, map[string][]setting[StreamConfig]{
		"Name":           {{StreamConfig{Name: strings.Repeat("s", 64)}, "", ""}, {StreamConfig{Name: strings.Repeat("s", 65)}, "65", ""}, {StreamConfig{Name: "a b"}, "characters", ""}, {StreamConfig{Name: "a.b"}, "characters", ""}},
		"Replicas":       {{StreamConfig{Replicas: 1}, "", "replicas: 1"}, {StreamConfig{Replicas: 2}, "", "replicas: 2"}, {StreamConfig{Replicas: 3}, "", ""}, {StreamConfig{Replicas: 5}, "", ""}, {StreamConfig{Replicas: -1}, "-1", ""}, {StreamConfig{Replicas: 6}, "6", ""}},
		"MaxBytes":       {{StreamConfig{MaxBytes: 16 << 20}, "", ""}, {StreamConfig{MaxBytes: 16<<20 - 1}, "below", ""}, {StreamConfig{MaxBytes: -1}, "-1", ""}},
		"InsecureMemory": {{StreamConfig{InsecureMemory: true}, "", "kept in memory"}},
		"Retention": {
			{retention(time.Second, time.Second, time.Millisecond), "", ""}, {retention(revoke.MaxLifetime, revoke.MaxLifetime, 2*time.Minute), "", ""},
			{retention(time.Second-1, 0, 0), "TokenLifetime", ""}, {retention(-1, 0, 0), "TokenLifetime", ""}, {retention(time.Second+1, 0, 0), "TokenLifetime", ""}, {retention(revoke.MaxLifetime+time.Millisecond, 0, 0), "TokenLifetime", ""},
			{retention(0, time.Second-1, 0), "SessionLifetime", ""}, {retention(0, -time.Hour, 0), "SessionLifetime", ""}, {retention(0, time.Second+1, 0), "SessionLifetime", ""}, {retention(0, revoke.MaxLifetime+time.Millisecond, 0), "SessionLifetime", ""},
			{retention(0, 0, time.Millisecond-1), "MaxSkew", ""}, {retention(0, 0, -1), "MaxSkew", ""}, {retention(0, 0, time.Second+1), "MaxSkew", ""}, {retention(0, 0, 2*time.Minute+time.Millisecond), "MaxSkew", ""},
		},
	}, func(cfg StreamConfig) (string, error) {
		c, err := stream.Settings(cfg).Resolve()
		if err != nil {
			return "", err
		}
		st := stream.StateOf(&jetstream.StreamInfo{Config: c}, new(stream.Fixed))
		if list := st.Unsafe; len(list) > 0 {
			return "", fmt.Errorf("it would forget: %q", list)
		}
		return strings.Join(st.Weak, "\n"), nil
	})
	c, err := stream.Settings{}.Resolve()
	if err != nil || c.Name != "REVOCATIONS" || c.Replicas != 3 || c.MaxBytes != 1<<30 || c.MaxMsgSize != 64<<10 || c.Duplicates != 2*time.Minute || c.MaxMsgs != -1 || c.MaxMsgsPerSubject != -1 || c.MaxConsumers != -1 ||
		c.Metadata["hybridtoken.token_lifetime_ms"] != "3600000" || c.Metadata["hybridtoken.session_lifetime_ms"] != "7776000000" || c.Metadata["hybridtoken.max_skew_ms"] != "2000" || c.Metadata["hybridtoken.schema"] != "1" || len(c.Metadata) != 4 {
		t.Errorf("defaults %+v, %v", c, err)
	}
}
