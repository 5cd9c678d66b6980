// Package admit is what packages token and refresh do for package refresh/web and show nobody
// else. Above all it is what token.Verifier.Middleware does with a request once it has its access
// token, for tokens that come in a cookie: one way to let a request in, to refuse it and to log
// that, whatever the token came in.
//
// Each variable is set by the package named there when the program starts, and read only.
package admit

import (
	"context"
	"net/http"
	"time"
)

// A Route admits requests as a token.Verifier's Middleware with certain options does. Its
// methods may be called concurrently.
type Route interface {
	// Admit returns the context of r if raw is acceptable.
	Admit(r *http.Request, raw string) (Admission, error)

	// Again returns the context of a request that a Route of the same owner has let in
	// already, further out; false if none has.
	Again(r *http.Request) (a Admission, inside bool, err error)

	// Accepted takes note that a request passes.
	Accepted()

	// Refuse logs err and answers as Middleware does: an error of Admit or Again, or nil for
	// a request without a token.
	Refuse(w http.ResponseWriter, r *http.Request, err error)
}

// An Admission is the context of a request that was let in. It carries the claims, and ends
// when the token does.
type Admission interface {
	context.Context
	Stop() // when the handler has returned
}

// NewRoute returns the Route of a *token.Verifier with a []token.VerifyOption. owner is compared
// by Again. The error is of options that cannot take effect. Package token sets it.
var NewRoute func(verifier, options, owner any) (Route, error)

// Raw returns the token that a Route of owner has let a request with that context in with, or "".
// Package token sets it.
var Raw func(ctx context.Context, owner any) string

// Expired returns the claims, a *token.Claims, of a token that a *token.Verifier would accept if
// it had not expired, and nil for any other. They let nobody in. Package token sets it.
var Expired func(ctx context.Context, verifier any, raw string) (claims any)

// AsIssuer is a token.VerifyOption that lets Verify accept a token no matter for which audience it was issued, and
// without proof of possession: for the service that issued it and is asked about it by those who
// check the one and the other themselves. Package token sets it.
var AsIssuer any

// AccessLifetime returns the Lifetimes.Access of a *refresh.Manager. Package refresh sets it.
var AccessLifetime func(manager any) time.Duration

// IssuerOf returns the iss of the tokens that a *refresh.Manager issues. Package refresh sets it.
var IssuerOf func(manager any) string

// DeviceBound reports whether the session of a *refresh.Grant is bound to a key of its device.
// Package refresh sets it.
var DeviceBound func(grant any) bool

// SessionOf returns the session id that a refresh token names, or pretends to; "" if it is none
// of ours. Package refresh sets it.
var SessionOf func(refreshToken string) string
