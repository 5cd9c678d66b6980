package grpctoken_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/issue"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// One authorization of one bearer token, or Unauthenticated; every bad token the same.
func TestUnary(t *testing.T) {
	auth, client := tokentest.New(t), tokentest.NewClient(t)
	r := newRig(t, auth.Verifier, func(c *grpctoken.Config) { c.Methods[chat] = []token.VerifyOption{token.RequireScope("chat")} })
	good := auth.Token()
	for _, x := range []struct {
		name          string
		authorization []string
		code          codes.Code
		message       string
	}{
		{"good", []string{"Bearer " + good}, codes.OK, ""},
		{"lower case", []string{"bearer " + good}, codes.OK, ""},
		{"two spaces", []string{"Bearer  " + good}, codes.OK, ""},
		{"none", nil, codes.Unauthenticated, "access token required"},
		{"two", []string{"Bearer " + good, "Bearer " + good}, codes.Unauthenticated, "access token required"},
		{"empty", []string{""}, codes.Unauthenticated, "access token required"},
		{"no scheme", []string{good}, codes.Unauthenticated, "access token required"},
		{"another scheme", []string{"Basic " + good}, codes.Unauthenticated, "access token required"},
		{"DPoP", []string{"DPoP " + good}, codes.Unauthenticated, "access token required"},
		{"no token", []string{"Bearer "}, codes.Unauthenticated, "access token required"},
		{"garbage", []string{"Bearer x"}, codes.Unauthenticated, "invalid_token"},
		{"two in one", []string{"Bearer " + good + ", Bearer " + good}, codes.Unauthenticated, "invalid_token"},
		{"expired", []string{"Bearer " + auth.Expired()}, codes.Unauthenticated, "invalid_token"},
		{"foreign", []string{"Bearer " + auth.Foreign()}, codes.Unauthenticated, "invalid_token"},
		{"revoked", []string{"Bearer " + auth.Revoked()}, codes.Unauthenticated, "invalid_token"},
		{"bound to a DPoP key", []string{"Bearer " + auth.Token(client.Bind)}, codes.Unauthenticated, "invalid_token"},
	} {
		out, err := r.call(with(t.Context(), x.authorization...), echo)
		if !is(err, x.code, x.message) || (err == nil) != (out == "user-1") {
			t.Errorf("%s: %q, error %v", x.name, out, err)
		}
	}
	if len(r.seen) != 3 {
		t.Errorf("%d requests passed", len(r.seen))
	}
	if out, err := r.call(t.Context(), open); err != nil || out != "nobody" {
		t.Errorf("public: %q, error %v", out, err)
	}
	if out, err := r.call(with(t.Context(), "Bearer "+good), open); err != nil || out != "nobody" {
		t.Errorf("public with a token: %q, error %v", out, err)
	}
	for _, word := range []string{"expired", "bad signature", "revoked", "sender's key", "method=" + echo} {
		if !strings.Contains(r.logged.String(), word) {
			t.Errorf("the log does not say %q", word)
		}
	}
}

func TestDemandsOfMethods(t *testing.T) {
	auth := tokentest.New(t)
	r := newRig(t, auth.Verifier, func(c *grpctoken.Config) {
		c.Methods[echo] = []token.VerifyOption{token.RequireScope("echo"), token.RequireFresh(time.Minute)}
	})
	stale := func(r *issue.Request) { r.AuthTime = time.Now().Add(-time.Hour) }
	for name, x := range map[string]struct {
		raw     string
		code    codes.Code
		message string
	}{
		"enough":    {auth.Token(tokentest.Scope("echo")), codes.OK, ""},
		"no scope":  {auth.Token(), codes.PermissionDenied, "insufficient_scope"},
		"not fresh": {auth.Token(tokentest.Scope("echo"), stale), codes.Unauthenticated, "insufficient_user_authentication"},
	} {
		if _, err := r.call(with(t.Context(), "Bearer "+x.raw), echo); !is(err, x.code, x.message) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	s := r.stream(t, with(t.Context(), "Bearer "+auth.Token()), chat)
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(nil); err.Error() != "EOF" {
		t.Errorf("another method: %v", err)
	}
}

// "Cannot know" is Unavailable.
func TestUnavailable(t *testing.T) {
	stale, err := revoke.NewList(revoke.Config{})
	if err != nil {
		t.Fatal(err)
	}
	auth := tokentest.New(t, func(c *token.VerifierConfig) { c.Revocations = stale })
	r := newRig(t, auth.Verifier, func(c *grpctoken.Config) {
		c.Methods["/test.Test/Listen"] = []token.VerifyOption{token.WithStalePolicy(revoke.InsecureAllow())}
	})
	ctx := with(t.Context(), "Bearer "+auth.Token())
	if _, err := r.call(ctx, echo); !is(err, codes.Unavailable, "temporarily_unavailable") {
		t.Errorf("error %v", err)
	}
	if err := r.stream(t, ctx, chat).RecvMsg(nil); !is(err, codes.Unavailable, "temporarily_unavailable") {
		t.Errorf("stream: error %v", err)
	}
	if !strings.Contains(r.logged.String(), "level=WARN") {
		t.Errorf("logged %q", r.logged.String())
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := r.stream(t, ctx, listen).RecvMsg(nil); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a method that goes on: error %v", err)
	}
}

func newCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Over gRPC with TLS, a bound token works with the certificate that it is bound to and no other.
func TestMutualTLS(t *testing.T) {
	auth := tokentest.New(t)
	host, mine, other := newCertificate(t), newCertificate(t), newCertificate(t)
	raw := auth.Token(func(r *issue.Request) { r.Binding.CertificateThumbprint = token.CertificateThumbprint(mine.Leaf) })
	for name, x := range map[string]struct {
		certs []tls.Certificate
		code  codes.Code
	}{
		"its certificate":     {[]tls.Certificate{host, mine}, codes.OK},
		"another certificate": {[]tls.Certificate{host, other}, codes.Unauthenticated},
		"no certificate":      {[]tls.Certificate{host}, codes.Unauthenticated},
		"no TLS":              {nil, codes.Unauthenticated},
	} {
		r := newRig(t, auth.Verifier, nil, x.certs...)
		message := "invalid_token"
		if x.code == codes.OK {
			message = ""
		}
		if _, err := r.call(with(t.Context(), "Bearer "+raw), echo); !is(err, x.code, message) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	auth := tokentest.New(t)
	for want, cfg := range map[string]grpctoken.Config{
		"Verifier is nil":                            {},
		"Verifier is":                                {Verifier: (*token.Verifier)(nil)},
		`Public holds "/a.B"`:                        {Verifier: auth.Verifier, Public: []string{"/a.B"}},
		`Public holds "/a.B/*"`:                      {Verifier: auth.Verifier, Public: []string{"/a.B/*"}},
		`Public holds "a.B/C"`:                       {Verifier: auth.Verifier, Public: []string{"a.B/C"}},
		`Public holds ""`:                            {Verifier: auth.Verifier, Public: []string{""}},
		`Public holds "/a.B/C", and so does Methods`: {Verifier: auth.Verifier, Public: []string{"/a.B/C"}, Methods: map[string][]token.VerifyOption{"/a.B/C": nil}},
		`Methods holds "C"`:                          {Verifier: auth.Verifier, Methods: map[string][]token.VerifyOption{"C": nil}},
	} {
		if i, err := grpctoken.New(cfg); i != nil || err == nil || !strings.HasPrefix(err.Error(), "grpctoken: Config."+want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
	if _, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier, Public: []string{"/a.B/C"}}); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}
