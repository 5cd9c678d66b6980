package token

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

type contextKey struct{}

// NewContext returns ctx with the claims of the token that a request came with.
func NewContext(ctx context.Context, c *Claims) context.Context {
	return context.WithValue(ctx, contextKey{}, c)
}

// FromContext returns the claims that [Verifier.Middleware] accepted the request
// with, and whether there are any.
func FromContext(ctx context.Context) (*Claims, bool) {
	c, ok := ctx.Value(contextKey{}).(*Claims)
	return c, ok && c != nil
}

// Middleware passes requests with an acceptable token on to next, which finds the
// claims by [FromContext]. opts hold for this route. The token is taken from the
// Authorization header only, under the scheme Bearer (RFC 6750 section 2.1) or, if
// [VerifierConfig].DPoP is set, DPoP (RFC 9449 section 7.1). The body is not read: a
// token in it is no token. Everything else is answered here, with a challenge for
// each scheme and a small JSON body of error and error_description:
//
//   - no token: 401, with challenges that name no error (RFC 6750 section 3.1), and
//     without a body
//   - two Authorization headers, a malformed one, an access_token in the query,
//     which logs and histories would keep, or a token larger than MaxTokenBytes, in
//     whose place a new one would be as large: 400 invalid_request
//   - a token of the family [ErrInvalidToken]: 401 invalid_token, the same bytes
//     whatever is wrong with it. A token that is bound to a DPoP key is refused under
//     Bearer, and one that is bound to none under DPoP (RFC 9449 sections 7.1, 7.2)
//   - a bad DPoP proof, or none or two: 401 invalid_dpop_proof; one without a current
//     nonce: 401 use_dpop_nonce. Both come with a DPoP-Nonce if nonces are required,
//     as do requests that pass
//   - [RequireScope]: 403 insufficient_scope; [RequireFresh] and [RequireACR]: 401
//     insufficient_user_authentication (RFC 9470)
//   - anything else, a stale denylist or missing keys: 503 with Retry-After, never
//     401, because the token may be good
//
// Why a token was refused is told to [VerifierConfig].Logger alone: each cause once a
// minute, and every refusal at debug level. Middleware panics
// if next is nil or an option cannot take effect.
//
// The request's context ends when its token does, as that of [Verifier.Watch] with
// context.Background and the options of the route does, but no sooner than 5 s after the token was accepted
// ([WithGrace]), and when next returns. Whether a token is fresh enough, [RequireFresh], is
// asked at the beginning alone. A request whose context nobody waits for pays nothing.
//
// Around a Middleware of the same Verifier, a second one with other options checks
// those, and that nothing changed since. Of another Verifier, such as one of those that
// [OneOf] chooses from, the second checks everything anew. A DPoP proof is used once by
// all that share a [DPoP].
func (v *Verifier) Middleware(next http.Handler, opts ...VerifyOption) http.Handler {
	if next == nil {
		panic("token: Middleware: nil handler")
	}
	r, err := v.route(opts)
	if err != nil {
		panic(err.Error()) // it could only ever answer 503
	}
	r.next = next
	return r
}

// route returns a route without a handler. The error is of opts that cannot take effect.
func (v *Verifier) route(opts []VerifyOption) (*route, error) {
	d, err := v.checked(opts)
	if err != nil {
		return nil, err
	}
	r := &route{v: v, demands: d, grace: defaultGrace}
	if d.graceSet {
		r.grace = d.grace
	}
	return r, nil
}

// A route is a handler that only requests with an acceptable token reach.
type route struct {
	v       *Verifier
	next    http.Handler
	demands *demands
	grace   time.Duration
}

// An admission is the context of a request that was let in.
type admission struct {
	tokenContext
	owner         *Verifier
	authorization string
	carrier       any    // of a token that came otherwise, see [carried]
	carried       string // that token
	spent         spentProof
}

// A spentProof is a DPoP proof that a request has used up: a second Middleware on its
// way, of another Verifier with the same DPoP, checks it and does not take it for a
// replay. The zero spentProof is none.
type spentProof struct {
	by    *dpopState
	proof string
}

type admissionKey struct{}

func (a *admission) Value(key any) any {
	if _, ok := key.(admissionKey); ok {
		return a
	}
	return a.tokenContext.Value(key)
}

func (p *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := revoke.Now()
	scheme, raw, err := credentials(r, p.v.dpop != nil)
	var known *verified
	if err == nil {
		if known = p.v.cache.find(raw); known == nil && !isToken68(raw) { // what is remembered is one
			err = errNotToken
		}
	}
	if err != nil {
		if err != errNoToken {
			p.v.logger.DebugContext(r.Context(), "token: request refused", "error", err)
			cause := "request"
			if errors.Is(err, errNoToken) {
				cause = "scheme"
			}
			p.v.refused.Refused(r.Context(), p.v.logger, time.Now(), "token: requests are refused", cause, err)
		}
		p.refuse(w, scheme, err)
		return
	}
	if scheme == schemeDPoP {
		if nonce := p.v.dpop.Nonce(); nonce != "" {
			w.Header().Set("DPoP-Nonce", nonce)
		}
	}
	a, err := p.admit(r, scheme, raw, now, known)
	switch {
	case err == nil:
		defer a.stop()
		p.v.refused.Accepted()
		// Not in one piece of memory with a: who keeps the context of a connection that goes on
		// would keep the request, whose headers the client chose.
		p.next.ServeHTTP(w, r.WithContext(a))
	default:
		p.log(r.Context(), err)
		p.refuse(w, scheme, err)
	}
}

// log tells why a token was refused.
func (p *route) log(ctx context.Context, err error) {
	if answerTo(err) != answerUnavailable {
		p.v.logger.DebugContext(ctx, "token: token refused", "error", err)
		p.v.refused.Refused(ctx, p.v.logger, time.Now(), "token: tokens are refused", Cause(err), err)
	} else if heldBack, ok := p.v.warned.allow(time.Now(), time.Second); ok {
		p.v.logger.WarnContext(ctx, "token: tokens cannot be verified", "error", err, "unreported", heldBack)
	}
}

// admit returns the context of r if it may pass.
func (p *route) admit(r *http.Request, scheme, raw string, now revoke.Instant, known *verified) (*admission, error) {
	ctx, authorization := r.Context(), r.Header["Authorization"][0]
	came := presented{request: r}
	if outer, ok := ctx.Value(admissionKey{}).(*admission); ok && outer.authorization == authorization {
		if outer.owner == p.v {
			a := new(admission)
			return a, p.within(ctx, a, outer)
		}
		came.spent = outer.spent
	}
	if s := &came.sender; scheme == schemeDPoP {
		var err error
		if s.Proof, err = oneProof(r); err != nil {
			return nil, err
		}
		s.Method, s.URL = r.Method, p.v.dpop.s.url(r)
	}
	ok, err := p.v.verify(ctx, raw, now, known, p.demands, &came)
	if err != nil {
		return nil, err
	}
	a := &admission{owner: p.v, authorization: authorization, spent: came.spent}
	if came.sender.Proof != "" {
		a.spent = spentProof{p.v.dpop.s, came.sender.Proof}
	}
	a.init(ctx, ok, p.demands, p.grace)
	return a, nil
}

// within makes a the context of a request that the same Verifier has let in further out. What
// ends that one's ends this one's, for which the options of this route hold.
func (p *route) within(ctx context.Context, a, outer *admission) error {
	a.owner, a.authorization, a.carrier, a.carried, a.spent = p.v, outer.authorization, outer.carrier, outer.carried, outer.spent
	a.init(ctx, accepted{outer.claims, outer.a, outer.since}, p.demands, p.grace)
	return p.v.judgeAgain(ctx, outer.claims, p.demands)
}

// A limiter lets one warning through in each period, and counts the others: an outage
// must not bring a flood of lines with it.
type limiter struct {
	last  atomic.Int64 // period, counted from 1970
	count atomic.Int64 // held back since
}

func (l *limiter) allow(now time.Time, every time.Duration) (heldBack int64, ok bool) {
	last, t := l.last.Load(), now.Unix()/int64(every/time.Second)
	if last == t || !l.last.CompareAndSwap(last, t) {
		l.count.Add(1)
		return 0, false
	}
	return l.count.Swap(0), true
}
