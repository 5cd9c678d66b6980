package grpctoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/hybridtoken/hybridtoken/internal/refusals"
	"github.com/hybridtoken/hybridtoken/token"
)

// A Verifier accepts or refuses tokens; [token.Verifier] is one.
type Verifier interface {
	Verify(ctx context.Context, raw string, opts ...token.VerifyOption) (*token.Claims, error)
	Recheck(ctx context.Context, c *token.Claims, opts ...token.VerifyOption) error
	Watch(ctx context.Context, c *token.Claims, opts ...token.VerifyOption) (context.Context, context.CancelFunc)
}

// Config configures an [Interceptor].
type Config struct {
	// Verifier verifies the tokens. Required.
	Verifier Verifier

	// Methods says what single methods ask of a token, by full name:
	// "/shop.Orders/Cancel": {token.RequireScope("orders:write")}. [Interceptor.Check]
	// finds those that the server does not have.
	Methods map[string][]token.VerifyOption

	// Public are the methods that need no token, by full name, such as
	// "/grpc.health.v1.Health/Check". A token sent to them is not looked at, and their
	// handlers find no claims.
	Public []string

	// Logger hears why calls are refused and streams end: each cause once a minute, at info
	// or warn level, with what may be configured wrongly, and every refusal at debug
	// level. What happens every day, such as an expired token, is told only while nothing is
	// accepted. Nil means silent.
	Logger *slog.Logger
}

// An Interceptor stands before the methods of a server. Its methods may be called
// concurrently. It has no background and needs no Close.
type Interceptor struct {
	cfg    Config
	public map[string]bool
	folded map[string]string // of Methods and Public in small letters
	check  atomic.Int32      // whether Check was called: unchecked, checked, or said that it was not
	warned atomic.Int64      // when it was last said that tokens cannot be verified, in unix seconds
	causes refusals.Log      // of refusals
}

// New returns an Interceptor. The error names the field of cfg that is to blame.
func New(cfg Config) (*Interceptor, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	refuse := func(field, why string) error {
		return &token.ConfigError{Config: "grpctoken.Config", Field: field, Reason: why}
	}
	switch v, ok := cfg.Verifier.(*token.Verifier); {
	case cfg.Verifier == nil, ok && v == nil:
		return nil, refuse("Verifier", "is nil")
	}
	i := &Interceptor{cfg: cfg, public: make(map[string]bool, len(cfg.Public)), folded: make(map[string]string)}
	i.cfg.Methods = make(map[string][]token.VerifyOption, len(cfg.Methods))
	for m, opts := range cfg.Methods {
		if !isFullMethod(m) {
			return nil, refuse("Methods", fmt.Sprintf("holds %q, which is no /service/method", m))
		}
		if like, ok := i.folded[strings.ToLower(m)]; ok {
			return nil, refuse("Methods", fmt.Sprintf("holds %q and %q, of which one is misspelt", m, like))
		}
		i.folded[strings.ToLower(m)] = m
		if v, ok := cfg.Verifier.(*token.Verifier); ok {
			if err := v.CheckOptions(opts...); err != nil {
				return nil, &token.ConfigError{Config: "grpctoken.Config", Field: "Methods", Reason: fmt.Sprintf("demands of %q what no token can meet: %v", m, err), Err: err}
			}
		}
		i.cfg.Methods[m] = slices.Clone(opts)
	}
	for _, m := range cfg.Public {
		if !isFullMethod(m) {
			return nil, refuse("Public", fmt.Sprintf("holds %q, which is no /service/method", m))
		}
		if _, both := cfg.Methods[m]; both {
			return nil, refuse("Public", fmt.Sprintf("holds %q, and so does Methods", m))
		}
		if like, ok := i.folded[strings.ToLower(m)]; ok && like != m {
			return nil, refuse("Public", fmt.Sprintf("holds %q, and Methods or Public %q, of which one is misspelt", m, like))
		}
		i.folded[strings.ToLower(m)] = m
		i.public[m] = true
	}
	return i, nil
}

// Check returns an error that names each method of Methods and Public that server, a [grpc.Server], does
// not have: misspelt, it demands nothing of the calls that it is meant for. Call it once all
// services are registered, before Serve. Where nobody has, the first call is warned of in
// the log, and calls of a method that differs from a named one in nothing but capital letters are refused
// with codes.Internal. Once Check has returned nil the name in Config is the right one, and such
// a call, which reaches the interceptor by [grpc.UnknownServiceHandler], is codes.Unimplemented.
func (i *Interceptor) Check(server interface {
	GetServiceInfo() map[string]grpc.ServiceInfo
}) error {
	has := make(map[string]bool)
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			has["/"+service+"/"+m.Name] = true
		}
	}
	var errs []error
	for _, m := range slices.Sorted(maps.Values(i.folded)) {
		if !has[m] {
			field := "Methods"
			if i.public[m] {
				field = "Public"
			}
			errs = append(errs, fmt.Errorf("grpctoken: Config.%s holds %q, which the server does not have", field, m))
		}
	}
	if len(errs) > 0 {
		i.check.Store(said)
		return errors.Join(errs...)
	}
	i.check.Store(passed)
	return nil
}

// States of Interceptor.check.
const (
	unchecked = iota
	said      // what Check would, or has
	passed
)

// Methods or Public names the method in other letters: theirs are wrong, or the client's.
var (
	errMisspelt = errors.New("Config.Methods or Public names this method in other capital letters")
	errNoMethod = errors.New("the server has this method in other capital letters")
)

// named returns an error if method is meant by a name that is not its own.
func (i *Interceptor) named(ctx context.Context, method string) error {
	if len(i.folded) == 0 {
		return nil
	}
	if i.check.Load() == unchecked && i.check.CompareAndSwap(unchecked, said) {
		i.cfg.Logger.WarnContext(ctx, "grpctoken: Interceptor.Check was not called: a misspelt name in Config.Methods or Public would go unnoticed")
	}
	if like, ok := i.folded[strings.ToLower(method)]; ok && like != method {
		if i.check.Load() == passed {
			return errNoMethod
		}
		return errMisspelt
	}
	return nil
}

// isFullMethod catches a service, a short name or a pattern, which no call has.
func isFullMethod(m string) bool {
	service, method, ok := strings.Cut(strings.TrimPrefix(m, "/"), "/")
	return ok && m[0] == '/' && service != "" && method != "" && !strings.ContainsAny(m, "* ") && !strings.Contains(method, "/")
}

// fullMethod returns m with the slash that it begins with. Servers hand on the path
// that the client sent; those that serve one without the slash too, as gRPC's did
// before 1.79.3 (CVE-2026-33186), must not free it of what Methods demands.
func fullMethod(m string) string {
	if strings.HasPrefix(m, "/") {
		return m
	}
	return "/" + m
}

// grace is what a unary call has, as a request of [token.Verifier.Middleware].
var grace = token.WithGrace(5 * time.Second)

// Unary returns the interceptor of unary methods. A handler's context ends when its token
// does, but no sooner than 5 s after the call began; [token.WithGrace] in Config.Methods
// sets another time. A handler that then gives up with context.Canceled has the client told
// what a refused token is told.
func (i *Interceptor) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		method := fullMethod(info.FullMethod)
		if err := i.named(ctx, method); err != nil {
			return nil, i.refused(ctx, method, err)
		}
		if i.public[method] {
			return handler(ctx, req)
		}
		claims, err := i.verify(ctx, method)
		if err != nil {
			return nil, i.refused(ctx, method, err)
		}
		i.causes.Accepted()
		watched, stop := i.cfg.Verifier.Watch(ctx, claims, append([]token.VerifyOption{grace}, i.cfg.Methods[method]...)...)
		defer stop()
		resp, err := handler(token.NewContext(watched, claims), req)
		if errors.Is(err, context.Canceled) && watched.Err() != nil && ctx.Err() == nil {
			return nil, i.refused(ctx, method, context.Cause(watched))
		}
		return resp, err
	}
}

// Stream returns the interceptor of streaming methods.
func (i *Interceptor) Stream() grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		method := fullMethod(info.FullMethod)
		ctx := ss.Context()
		if err := i.named(ctx, method); err != nil {
			return i.refused(ctx, method, err)
		}
		if i.public[method] {
			return handler(srv, ss)
		}
		claims, err := i.verify(ctx, method)
		if err != nil {
			return i.refused(ctx, method, err)
		}
		i.causes.Accepted()
		s := i.newStream(ss, method, claims)
		defer s.stop()
		err = handler(srv, s)
		// A handler that saw its context end may call that a success.
		if ended := s.ended.Load(); ended != nil {
			return *ended
		}
		return err
	}
}

// errNoToken and those that wrap it: the metadata do not hold exactly one bearer token.
var (
	errNoToken = errors.New("not exactly one bearer token")
	errSeveral = fmt.Errorf("%w: authorization is there more than once", errNoToken)
	errScheme  = fmt.Errorf("%w: authorization is no Bearer token", errNoToken)
)

func (i *Interceptor) verify(ctx context.Context, method string) (*token.Claims, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch {
	case len(values) == 0:
		return nil, errNoToken
	case len(values) > 1:
		return nil, errSeveral
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if raw = strings.TrimLeft(raw, " "); !strings.EqualFold(scheme, "bearer") || raw == "" {
		return nil, errScheme
	}
	opts := i.cfg.Methods[method]
	return i.cfg.Verifier.Verify(ctx, raw, append(opts[:len(opts):len(opts)], token.WithSender(sender(ctx)))...)
}

// sender returns what the handshake proved.
func sender(ctx context.Context) (s token.Sender) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return s
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
		s.Certificate = info.State.PeerCertificates[0]
	}
	return s
}

// refused logs why and returns what the client is told.
func (i *Interceptor) refused(ctx context.Context, method string, err error) error {
	told := statusOf(err)
	if told == statusNoMethod {
		i.cfg.Logger.DebugContext(ctx, "grpctoken: call refused", "method", method, "error", err)
	} else if told == statusMisspelt {
		i.causes.Refused(ctx, i.cfg.Logger, time.Now(), "grpctoken: calls are refused", "misspelt", err, "method", method)
	} else if told != statusUnavailable {
		i.cfg.Logger.DebugContext(ctx, "grpctoken: call refused", "method", method, "error", err)
		if cause := token.Cause(err); !errors.Is(err, errNoToken) {
			i.causes.Refused(ctx, i.cfg.Logger, time.Now(), "grpctoken: calls are refused", cause, err, "method", method)
		} else if err != errNoToken {
			i.causes.Refused(ctx, i.cfg.Logger, time.Now(), "grpctoken: calls are refused", "request", err, "method", method)
		}
	} else if last, now := i.warned.Load(), time.Now().Unix(); last != now && i.warned.CompareAndSwap(last, now) {
		// Once a second: an outage must not bring a flood of lines with it.
		i.cfg.Logger.WarnContext(ctx, "grpctoken: tokens cannot be verified", "method", method, "error", err)
	}
	return told
}

// What clients are told: a code of OAuth, and about the reason nothing.
var (
	statusNoToken     = status.Error(codes.Unauthenticated, "access token required")
	statusNoMethod    = status.Error(codes.Unimplemented, "unknown method")
	statusMisspelt    = status.Error(codes.Internal, "server_error")
	statusTooLarge    = status.Error(codes.InvalidArgument, "invalid_request") // a new token would be as large
	statusInvalid     = status.Error(codes.Unauthenticated, "invalid_token")
	statusStepUp      = status.Error(codes.Unauthenticated, "insufficient_user_authentication")
	statusScope       = status.Error(codes.PermissionDenied, "insufficient_scope")
	statusUnavailable = status.Error(codes.Unavailable, "temporarily_unavailable")
)

func statusOf(err error) error {
	switch {
	case errors.Is(err, errNoMethod):
		return statusNoMethod
	case errors.Is(err, errMisspelt):
		return statusMisspelt
	case errors.Is(err, errNoToken):
		return statusNoToken
	case errors.Is(err, token.ErrUnavailable):
		return statusUnavailable
	case errors.Is(err, token.ErrInsufficientScope):
		return statusScope
	case errors.Is(err, token.ErrInsufficient):
		return statusStepUp
	case errors.Is(err, token.ErrTooLarge):
		return statusTooLarge
	case errors.Is(err, token.ErrInvalidToken):
		return statusInvalid
	}
	return statusUnavailable
}
