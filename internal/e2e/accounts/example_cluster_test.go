package accounts_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Three servers of cluster.conf: synced, TLS on every line, the stream and the mirror
// with three replicas each. Verifiers behind the mirror are fresh, refuse, and are
// waited for; and again after a server has died.
func TestExampleCluster(t *testing.T) {
	t.Parallel()
	ca, vars := testCertificate(t)
	c := rig.NewCluster(t, 3, func(o *server.Options) {
		vars["NATS_NAME"] = o.ServerName
		parsed := rig.ExampleConfig(t, "cluster.conf", vars)
		if parsed.ServerName != o.ServerName || !parsed.JetStream || !parsed.SyncAlways || parsed.NoJetStreamStrict || len(parsed.Routes) != 3 ||
			parsed.TLSConfig == nil || parsed.Cluster.TLSConfig == nil || !parsed.Cluster.NoAdvertise || parsed.StoreDir != "/var/lib/nats" {
			t.Fatal("cluster.conf does not say what it should")
		}
		// What the machine decides: addresses, directories, and silence.
		parsed.Host, parsed.Port, parsed.StoreDir, parsed.Routes = o.Host, o.Port, o.StoreDir, o.Routes
		parsed.HTTPHost, parsed.HTTPPort = "", 0
		parsed.Cluster.Name, parsed.Cluster.Host, parsed.Cluster.Port = o.Cluster.Name, o.Cluster.Host, o.Cluster.Port
		parsed.Cluster.Advertise, parsed.Cluster.PoolSize = o.Cluster.Advertise, o.Cluster.PoolSize
		parsed.NoSigs, parsed.NoLog = true, true
		*o = *parsed
	})
	connect := func(name string) bus.Config {
		return rig.Dial(t, c.URLs(), append(rig.ExampleUser(name), nats.Secure(ca))...)
	}
	if nc, err := nats.Connect(c.URLs(), rig.ExampleUser("auth")...); err == nil {
		nc.Close()
		t.Error("a client that does not know the CA is connected")
	}

	operator := connect("operator")
	if err := bus.CreateStream(rig.Within(t), rig.Connection(t, operator), bus.StreamConfig{}); err != nil { // as in production
		t.Fatal(err)
	}
	_, js := rig.Client(t, c.URLs(), append(rig.ExampleUser("mirror"), nats.Secure(ca))...)
	// A request that comes while the servers elect is never answered: again.
	rig.AskUntil(t, "the mirror is made", func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, rig.ExampleMirror(t, 3))
		return err
	})
	usual := revoke.Config{MaxSkew: revoke.DefaultRetention().MaxSkew}
	own, l := rig.NewList(t, usual), rig.NewList(t, usual)
	auth := rig.Join(t, connect("auth"), bus.Config{Name: "auth"}, own)
	rig.WaitFresh(t, auth)
	f := rig.Join(t, connect("verifier"), rig.ExampleVerifier, l)
	rig.WaitFresh(t, f)
	if s := auth.Status().Publishing; len(s.Unsafe) != 0 || len(s.Weak) != 0 {
		t.Errorf("the stream is unsafe %v or weak %v", s.Unsafe, s.Weak)
	}
	confirm := func(sid string) {
		t.Helper()
		r, err := rollcall.Revoke(rig.Within(t), auth, revoke.Event{Kind: revoke.KindSession, Value: sid}, rollcall.Config{Replicas: 2})
		if err != nil || len(rig.Applied(r)) != 2 {
			t.Fatalf("%v; %+v", err, r.Replicas)
		}
		rig.MustRefuse(t, l, rig.Session(sid))
		rig.MustRefuse(t, own, rig.Session(sid))
	}
	for i := range 3 {
		confirm(fmt.Sprint("s", i))
	}
	sessionsOn(t, c.URLs(), ca, auth, own, l)
	c.Crash(c.MetaLeader())
	rig.Publish(t, auth, revoke.Event{Kind: revoke.KindSession, Value: "crashed"})
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, rig.Session("s0"), rig.Session("crashed"))
	rig.MustPass(t, l, rig.Session("other"))
}

// sessionsOn runs sessions and a sealed keyring by the rights of user sessions, in the bucket
// that sessions_operator makes, published as auth: what a logout ends is refused behind the mirror.
func sessionsOn(t *testing.T, urls string, ca *tls.Config, auth *bus.Member, own, behind *revoke.List) {
	t.Helper()
	connected := func(name string) *nats.Conn {
		return rig.StoreConnection(t, urls, append(rig.ExampleUser(name), nats.Secure(ca))...)
	}
	rig.Made(t, func(ctx context.Context) error {
		return natskv.CreateBucket(ctx, connected("sessions_operator"), natskv.BucketConfig{}) // as in production
	})
	store, err := natskv.New(rig.Within(t), connected("sessions"), natskv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	seal, err := issue.NewSealKey("a", []byte("thirty-two bytes of no secret 01"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := issue.OpenKeyring(rig.Within(t), store, issue.KeyringConfig{Issuer: rig.Issuer, SealKeys: []*issue.SealKey{seal}, Revocations: own})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	issuing, err := issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := refresh.NewManager(refresh.Config{Issuer: issuing, Store: store, Revocations: own, Publisher: auth, Lifetimes: refresh.Web})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	verifier, err := tokens.NewVerifier(tokens.VerifierConfig{Issuer: rig.Issuer, Audiences: []string{"api"}, Algorithms: []tokens.Algorithm{ring.Active().Algorithm()}, Keys: ring, Revocations: behind})
	if err != nil {
		t.Fatal(err)
	}
	var g *refresh.Grant
	rig.AskUntil(t, "a login", func(ctx context.Context) error {
		g, err = sessions.Login(ctx, refresh.Login{
			Subject: "user-1", Client: "web", Audience: []string{"api"}, AuthTime: time.Now(),
			Claims: map[string]any{"large": strings.Repeat("x", 1<<10)},
		})
		return err
	})
	if g, err = sessions.Refresh(rig.Within(t), refresh.Request{Token: g.RefreshToken(), Client: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.Verify(rig.Within(t), g.AccessToken()); err != nil {
		t.Fatal(err)
	}
	if err := sessions.Logout(rig.Within(t), g.SessionID); err != nil {
		t.Fatal(err)
	}
	rig.AskUntil(t, "the logout is behind the mirror", func(ctx context.Context) error {
		if _, err := verifier.Verify(ctx, g.AccessToken()); !errors.Is(err, revoke.ErrRevoked) {
			return fmt.Errorf("verified, with error %v", err)
		}
		return nil
	})
	if _, err := store.Save(rig.Within(t), "x.largest", make([]byte, recordstore.MaxValueBytes), 0, time.Now().Add(time.Minute)); err != nil {
		t.Errorf("the largest record: %v", err)
	}
	checkSessionRights(t, connected)
}

// checkSessionRights: the service's own credentials change nothing but records.
func checkSessionRights(t *testing.T, connected func(string) *nats.Conn) {
	t.Helper()
	nc := connected("sessions")
	for _, call := range []string{"DELETE", "PURGE", "UPDATE", "SNAPSHOT", "MSG.DELETE"} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if m, err := nc.RequestWithContext(ctx, "$JS.API.STREAM."+call+"."+rig.SessionsStream, nil); err == nil {
			t.Errorf("%s is answered: %s", call, m.Data)
		}
		cancel()
	}
}

// testCertificate makes the certificate that the three servers use, and returns its
// authority and the variables that cluster.conf reads.
func testCertificate(t *testing.T) (*tls.Config, map[string]string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	vars := map[string]string{}
	write := func(name, kind string, data []byte, names ...string) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			vars[name] = path
		}
	}
	write("cert.pem", "CERTIFICATE", der, "NATS_TLS_CERT", "NATS_TLS_CA")
	write("key.pem", "PRIVATE KEY", private, "NATS_TLS_KEY")
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, vars
}
