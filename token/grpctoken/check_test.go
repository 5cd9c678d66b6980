package grpctoken_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/grpctoken"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A misspelt method demands nothing of the calls that it is meant for: Check names it.
func TestCheckNamesWhatTheServerDoesNotHave(t *testing.T) {
	auth := tokentest.New(t)
	demand := []token.VerifyOption{token.RequireScope("x")}
	for name, x := range map[string]struct {
		methods, public []string
		want            []string
	}{
		"all there":         {[]string{echo, chat}, []string{open}, nil},
		"nothing named":     {nil, nil, nil},
		"a misspelt method": {[]string{"/test.Test/Ecko", chat}, nil, []string{`Config.Methods holds "/test.Test/Ecko"`}},
		"another package":   {[]string{"/Test/Echo"}, nil, []string{`Config.Methods holds "/Test/Echo"`}},
		"another case":      {[]string{"/test.test/Echo"}, nil, []string{`Config.Methods holds "/test.test/Echo"`}},
		"both":              {[]string{"/test.Test/A"}, []string{open, "/test.Test/B"}, []string{`Methods holds "/test.Test/A"`, `Public holds "/test.Test/B"`}},
	} {
		cfg := grpctoken.Config{Verifier: auth.Verifier, Methods: map[string][]token.VerifyOption{}, Public: x.public}
		for _, m := range x.methods {
			cfg.Methods[m] = demand
		}
		i, err := grpctoken.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		srv := grpc.NewServer()
		srv.RegisterService(desc, &server{})
		err = i.Check(srv)
		srv.Stop()
		if (err == nil) != (x.want == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		for _, want := range x.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %s", name, err, want)
			}
		}
	}
	// What New sees without a server.
	for name, cfg := range map[string]grpctoken.Config{
		"twice in Methods":      {Verifier: auth.Verifier, Methods: map[string][]token.VerifyOption{"/a.B/C": nil, "/a.b/C": nil}},
		"in Methods and Public": {Verifier: auth.Verifier, Methods: map[string][]token.VerifyOption{"/a.B/C": nil}, Public: []string{"/a.B/c"}},
		"twice in Public":       {Verifier: auth.Verifier, Public: []string{"/a.B/C", "/a.B/c"}},
	} {
		if i, err := grpctoken.New(cfg); i != nil || err == nil || !strings.Contains(err.Error(), "misspelt") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier, Public: []string{"/a.B/C", "/a.B/C"}}); err != nil {
		t.Errorf("the good twin: %v", err)
	}
}

// Without Check the first call has it said, and a call of a method that is named in other
// capital letters is refused: without the scope, and with it.
func TestMisspeltMethodIsRefused(t *testing.T) {
	auth := tokentest.New(t)
	good := "Bearer " + auth.Token(tokentest.Scope("echo"))
	r := newRig(t, auth.Verifier, func(c *grpctoken.Config) {
		c.Methods["/test.test/Echo"] = []token.VerifyOption{token.RequireScope("echo")}
		c.Methods["/test.Test/CHAT"] = nil
	})
	for range 3 {
		if _, err := r.call(with(t.Context(), good), echo); !is(err, codes.Internal, "server_error") {
			t.Errorf("error %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.stream(t, with(ctx, good), chat).RecvMsg(nil); !is(err, codes.Internal, "server_error") {
		t.Errorf("stream: error %v", err)
	}
	if _, err := r.call(t.Context(), open); err != nil {
		t.Errorf("the good twin: %v", err)
	}
	logged := r.logged.String()
	if strings.Count(logged, "Check was not called") != 1 || !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, "method="+echo) {
		t.Errorf("logged %s", logged)
	}
}

// After Check a name in other capital letters is the client's mistake, and no failure of the
// service's.
func TestMisspeltCallAfterCheck(t *testing.T) {
	auth := tokentest.New(t)
	var logged lockedBuffer
	i, err := grpctoken.New(grpctoken.Config{
		Verifier: auth.Verifier, Public: []string{open}, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		Methods: map[string][]token.VerifyOption{echo: {token.RequireScope("echo")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func(method string) error {
		ctx := incoming(t.Context(), "Bearer "+auth.Token(tokentest.Scope("echo")))
		_, err := i.Unary()(ctx, nil, &grpc.UnaryServerInfo{FullMethod: method}, func(context.Context, any) (any, error) { return nil, nil })
		return err
	}
	srv := grpc.NewServer()
	if err := i.Check(srv); err == nil { // which has none of the methods
		t.Fatal("Check found nothing wrong")
	}
	if err := call("/test.test/Echo"); !is(err, codes.Internal, "server_error") {
		t.Errorf("after a Check in vain: error %v", err)
	}
	srv.RegisterService(desc, &server{})
	if err := i.Check(srv); err != nil {
		t.Fatal(err)
	}
	before := logged.String()
	for _, method := range []string{"/test.test/Echo", "/TEST.TEST/OPEN"} {
		if err := call(method); !is(err, codes.Unimplemented, "unknown method") {
			t.Errorf("%s: error %v", method, err)
		}
	}
	if err := call(echo); err != nil {
		t.Errorf("the good twin: %v", err)
	}
	if logged.String() != before {
		t.Errorf("a client's mistake is logged: %s", logged.String())
	}
}

// Why calls are refused stands in the log at the usual level, by cause.
func TestConstantRefusalsAreExplained(t *testing.T) {
	auth := tokentest.New(t)
	now := time.Now().Unix()
	sign := func(change map[string]any) string {
		claims := map[string]any{"iss": tokentest.Issuer, "aud": tokentest.Audience, "sub": "u", "client_id": "c", "jti": "j", "iat": now, "exp": now + 600}
		for name, v := range change {
			if claims[name] = v; v == nil {
				delete(claims, name)
			}
		}
		return auth.Sign(claims)
	}
	for _, x := range []struct {
		name, authorization string
		code                codes.Code
		message, cause      string
	}{
		{"no client_id", "Bearer " + sign(map[string]any{"client_id": nil}), codes.Unauthenticated, "invalid_token", "claims"},
		{"a numeric sub", "Bearer " + sign(map[string]any{"sub": 17}), codes.Unauthenticated, "invalid_token", "claims"},
		{"another audience", "Bearer " + sign(map[string]any{"aud": "billing"}), codes.Unauthenticated, "invalid_token", "audience"},
		{"iat ahead", "Bearer " + sign(map[string]any{"iat": now + 100}), codes.Unauthenticated, "invalid_token", "not_yet_valid"},
		{"another's key", "Bearer " + auth.Foreign(), codes.Unauthenticated, "invalid_token", "signature"},
		{"opaque", "Bearer opaque", codes.Unauthenticated, "invalid_token", "malformed"},
		{"29 KB", "Bearer " + sign(map[string]any{"groups": strings.Repeat("g", 20<<10)}), codes.InvalidArgument, "invalid_request", "too_large"},
		{"Basic", "Basic bWU6c2VjcmV0", codes.Unauthenticated, "access token required", "request"},
	} {
		var logged lockedBuffer
		i, err := grpctoken.New(grpctoken.Config{Verifier: auth.Verifier, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			_, err := i.Unary()(incoming(t.Context(), x.authorization), nil, &grpc.UnaryServerInfo{FullMethod: echo}, func(context.Context, any) (any, error) { return nil, nil })
			if !is(err, x.code, x.message) {
				t.Errorf("%s: error %v", x.name, err)
			}
		}
		text := logged.String()
		if n := strings.Count(text, "cause="+x.cause+" "); n < 1 || n > 2 || !strings.Contains(text, "method="+echo) || strings.Count(text, "\n") != n { // two where a minute ends
			t.Errorf("%s: logged %s", x.name, text)
		}
		if _, raw, _ := strings.Cut(x.authorization, " "); len(raw) > 20 && strings.Contains(text, raw[:20]) {
			t.Errorf("%s: the log holds the token (invariant 10)", x.name)
		}
	}
}
