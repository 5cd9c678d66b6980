package browser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Servers answer https://HOST/ on the loopback address, with a certificate made for the test,
// and note what they saw.
type Servers struct {
	server *httptest.Server
	hosts  []string
	spki   string // what the browser trusts the certificate by

	mu   sync.Mutex
	seen []Seen
}

// Seen is a request as it came, and what it was answered. Header holds cookies: tests do not
// print it.
type Seen struct {
	Method, Host, Path string // Path with the query
	Header             http.Header
	Status             int // 0 while it is not answered
}

func serve(t testing.TB, hosts map[string]http.Handler) *Servers {
	t.Helper()
	s := &Servers{}
	for host := range hosts {
		s.hosts = append(s.hosts, host)
	}
	slices.Sort(s.hosts)
	cert := s.certificate(t)
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := hosts[hostName(r.Host)]
		if !ok {
			http.Error(w, "no such host", http.StatusMisdirectedRequest)
			return
		}
		s.mu.Lock()
		i := len(s.seen)
		s.seen = append(s.seen, Seen{Method: r.Method, Host: hostName(r.Host), Path: r.URL.RequestURI(), Header: r.Header.Clone()})
		s.mu.Unlock()
		answered := &answer{ResponseWriter: w, told: func(status int) {
			s.mu.Lock()
			s.seen[i].Status = status
			s.mu.Unlock()
		}}
		h.ServeHTTP(answered, r)
		answered.tell(http.StatusOK)
	}))
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.EnableHTTP2 = true
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.server.StartTLS()
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

// An answer tells the status of the final answer, once.
type answer struct {
	http.ResponseWriter
	told func(int)
	done bool
}

func (a *answer) tell(status int) {
	if !a.done && status >= 200 {
		a.done = true
		a.told(status)
	}
}

func (a *answer) WriteHeader(status int) {
	a.tell(status)
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.tell(http.StatusOK)
	return a.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func hostName(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

// certificate makes one for the hosts, and notes the hash of its key.
func (s *Servers) certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "for tests"}, DNSNames: s.hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	s.spki = base64.StdEncoding.EncodeToString(sum[:])
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// resolverRules says where the browser finds the hosts, and that it finds nothing else.
func (s *Servers) resolverRules() string {
	var rules []string
	for _, host := range s.hosts {
		rules = append(rules, "MAP "+host+":443 "+s.server.Listener.Addr().String())
	}
	return strings.Join(append(rules, "MAP * ~NOTFOUND"), ",")
}

// Seen returns the requests so far that match.
func (s *Servers) Seen(match func(Seen) bool) []Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Seen
	for _, r := range s.seen {
		if match(r) {
			all = append(all, r)
		}
	}
	return all
}

// Count returns how many requests of that method and path (without its query) a host saw.
func (s *Servers) Count(method, host, path string) int {
	return len(s.Seen(func(r Seen) bool {
		p, _, _ := strings.Cut(r.Path, "?")
		return r.Method == method && r.Host == host && p == path
	}))
}
