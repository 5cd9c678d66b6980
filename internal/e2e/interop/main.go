// Interop asks other people's verifiers about the tokens that an Issuer of this project
// writes, and prints a table: a row for each verifier, a column for each algorithm.
//
// It serves a key set and newly issued tokens on a loopback port and runs the programs in
// the folder runners, which answer on standard output; .ci/interop installs what they need.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

const (
	issuerURL = "https://auth.example.com"
	audience  = "orders"
)

var algorithms = []token.Algorithm{token.ES256, token.RS256, token.PS256, token.EdDSA}

func main() {
	dir := flag.String("dir", "", "the folder with the installed packages; the runners run there")
	doc := flag.String("compare", "", "a Markdown file that must hold the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *dir, *doc, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// run starts each runner, an absolute path, with the program that its extension needs.
func run(ctx context.Context, dir, doc string, runners []string) error {
	s, err := newServer()
	if err != nil {
		return err
	}
	defer s.http.Close()
	defer s.https.Close()
	var all []answer
	for _, path := range runners {
		list, err := s.ask(ctx, dir, path)
		if err != nil {
			return fmt.Errorf("running %s: %w", filepath.Base(path), err)
		}
		all = append(all, list...)
	}
	t, err := table(all)
	if err != nil {
		return err
	}
	fmt.Print(t)
	if doc == "" {
		return nil
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(t)) {
		return fmt.Errorf("%s holds another table", doc)
	}
	return nil
}

// A server gives runners what they verify: /jwks.json (all keys) and /jwks.json?alg= (one),
// /pem?alg= (the public key), and /token?alg= (a token that is issued now, or
// with &forged=1 one with a wrong signature).
type server struct {
	http    *httptest.Server
	https   *httptest.Server // the same, for programs that want TLS; they do not check its certificate
	issuers map[token.Algorithm]*issue.Issuer
	pems    map[token.Algorithm][]byte
}

func newServer() (*server, error) {
	s := &server{issuers: map[token.Algorithm]*issue.Issuer{}, pems: map[token.Algorithm][]byte{}}
	type keySet struct {
		Keys []json.RawMessage `json:"keys"`
	}
	var set keySet
	sets := map[string]keySet{}
	for _, alg := range algorithms {
		private, err := generate(alg)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			return nil, err
		}
		s.pems[alg] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		key, err := issue.NewSigningKey("key-"+string(alg), alg, private)
		if err != nil {
			return nil, err
		}
		ring, err := issue.NewKeyring(issue.KeyringConfig{Issuer: issuerURL, Algorithm: alg}, key)
		if err != nil {
			return nil, err
		}
		if s.issuers[alg], err = issue.NewIssuer(issue.Config{Issuer: issuerURL, Keys: ring}); err != nil {
			return nil, err
		}
		w := httptest.NewRecorder()
		ring.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		var one keySet
		if err := json.Unmarshal(w.Body.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("reading the key set: %w", err)
		}
		sets[string(alg)] = one
		set.Keys = append(set.Keys, one.Keys...)
	}
	slices.Reverse(set.Keys) // a program that takes the first key shall not be lucky
	sets[""] = set
	mux := http.NewServeMux()
	serveKeys := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		json.NewEncoder(w).Encode(sets[r.FormValue("alg")])
	}
	mux.HandleFunc("GET /jwks.json", serveKeys)
	mux.HandleFunc("GET /.well-known/jwks.json", serveKeys)
	mux.HandleFunc("GET /pem", func(w http.ResponseWriter, r *http.Request) {
		w.Write(s.pems[token.Algorithm(r.FormValue("alg"))])
	})
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		issuer := s.issuers[token.Algorithm(r.FormValue("alg"))]
		if issuer == nil {
			http.NotFound(w, r)
			return
		}
		issued, err := issuer.Issue(r.Context(), issue.Request{
			Subject: "user-1", Client: "web", Session: "session-1", Audience: []string{audience}, Scope: []string{"orders:read"}, AuthTime: time.Now(),
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		raw := []byte(issued.Raw())
		if r.FormValue("forged") != "" { // another character in the midst of the signature
			i := bytes.LastIndexByte(raw, '.') + 20
			raw[i] = map[bool]byte{true: 'B', false: 'A'}[raw[i] == 'A']
		}
		w.Write(raw)
	})
	s.http = httptest.NewUnstartedServer(mux)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.http.Listener = l
	s.http.Start()
	s.https = httptest.NewTLSServer(mux)
	return s, nil
}

func generate(alg token.Algorithm) (crypto.Signer, error) {
	switch alg {
	case token.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case token.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	default:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
}

const (
	// A token with ES256 and a set with keys of several types. Those that are given one
	// key in PEM do not answer for it.
	mixed = "mixed"

	// A token with ES256 and a wrong signature. Who takes it verifies nothing.
	forged = "forged"
)

// An answer is a line of a runner: verifier, version, algorithm or one of the words above,
// and what was said, with tabs between. What was said is "ok" or the reason of a refusal.
type answer struct{ verifier, version, alg, said string }

func (s *server) ask(ctx context.Context, dir, path string) ([]answer, error) {
	program := map[string]string{".mjs": "node", ".py": "/usr/bin/python3", ".rb": "ruby", ".pl": "perl", ".sh": "bash"}[filepath.Ext(path)]
	if program == "" {
		return nil, errors.New("no program is known for it")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, path)
	cmd.Dir = dir
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		names[i] = string(a)
	}
	cmd.Env = append(os.Environ(), "INTEROP_URL="+s.http.URL, "INTEROP_TLS_URL="+s.https.URL, "INTEROP_ISSUER="+issuerURL, "INTEROP_AUDIENCE="+audience, "INTEROP_ALGS="+strings.Join(names, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var list []answer
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		f := strings.SplitN(sc.Text(), "\t", 4)
		if len(f) != 4 {
			return nil, fmt.Errorf("a line that is no answer: %q", sc.Text())
		}
		list = append(list, answer{f[0], f[1], f[2], f[3]})
	}
	if len(list) == 0 {
		return nil, errors.New("it answered nothing")
	}
	return list, nil
}

// table renders the answers in Markdown. Each verifier must have answered for each
// algorithm, and at least one must have taken it: a server that gives out bad tokens would
// make a table of refusals.
func table(all []answer) (string, error) {
	type row struct{ verifier, version string }
	var rows []row
	said := map[row]map[string]string{}
	taken := map[string]int{}
	for _, a := range all {
		r := row{a.verifier, a.version}
		if said[r] == nil {
			said[r] = map[string]string{}
			rows = append(rows, r)
		}
		said[r][a.alg] = "no"
		if a.said == "ok" {
			said[r][a.alg] = "yes"
			taken[a.alg]++
		} else if a.alg != forged {
			fmt.Fprintf(os.Stderr, "%s %s: %s: %s\n", a.verifier, a.version, a.alg, a.said)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(strings.ToLower(a.verifier), strings.ToLower(b.verifier)) })
	var b strings.Builder
	b.WriteString("| verifier | version |")
	line := "| --- | --- |"
	for _, a := range algorithms {
		fmt.Fprintf(&b, " %s |", a)
		line += " --- |"
		if taken[string(a)] == 0 {
			return "", fmt.Errorf("nobody takes %s", a)
		}
	}
	b.WriteString(" ES256, several key types in the set |\n" + line + " --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s |", r.verifier, r.version)
		for _, a := range algorithms {
			answer, ok := said[r][string(a)]
			if !ok {
				return "", fmt.Errorf("%s does not say whether it takes %s", r.verifier, a)
			}
			fmt.Fprintf(&b, " %s |", answer)
		}
		if said[r][forged] != "no" {
			return "", fmt.Errorf("%s was not seen to refuse a forged signature", r.verifier)
		}
		answer, ok := said[r][mixed]
		if !ok {
			answer = "–"
		}
		fmt.Fprintf(&b, " %s |\n", answer)
	}
	return b.String(), nil
}
