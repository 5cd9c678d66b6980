package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// RequireScope accepts only tokens whose scope holds all of scopes. Others are
// refused with [ErrInsufficientScope], by the Middleware with 403 and a challenge
// that names scopes (RFC 6750 section 3.1). Options add up. A value that is no scope-token
// (RFC 6749 section 3.3), or none at all, accepts nothing.
func RequireScope(scopes ...string) VerifyOption {
	d := &demands{scopes: slices.Clone(scopes)}
	if len(scopes) == 0 || slices.ContainsFunc(scopes, shape.IsNoScopeToken) {
		d.err = errors.New("RequireScope without a scope-token, or with what is none")
	}
	return d.option()
}

// RequireFresh accepts only tokens whose user was authenticated within maxAge, by
// auth_time, widened by the verifier's Leeway. Others, and those without auth_time,
// are refused with [ErrInsufficient], by the Middleware with 401 and a
// challenge that names max_age, so that the client can ask for a new login (RFC
// 9470). maxAge counts in whole seconds; below one it accepts nothing.
func RequireFresh(maxAge time.Duration) VerifyOption {
	d := &demands{maxAge: maxAge.Truncate(time.Second)}
	if maxAge < time.Second {
		d.err = errors.New("RequireFresh with less than a second")
	}
	return d.option()
}

// RequireACR accepts only tokens whose acr is one of values, in order of preference.
// Others are refused as those of [RequireFresh] are, with acr_values in the
// challenge. Of several options the last holds. A value that acr_values could not
// carry, or none at all, accepts nothing.
func RequireACR(values ...string) VerifyOption {
	d := &demands{acr: slices.Clone(values)}
	if len(values) == 0 || slices.ContainsFunc(values, shape.IsNoScopeToken) {
		d.err = errors.New("RequireACR without a value, or with one that acr_values cannot carry")
	}
	return d.option()
}

// CheckOptions returns an error if an option cannot take effect, so that every token would
// be refused. [Verifier.Middleware] panics with it.
func (v *Verifier) CheckOptions(opts ...VerifyOption) error {
	_, err := v.checked(opts)
	return err
}

// checked returns what opts ask for, if they can take effect with every issuer: each has
// a denylist of its own.
func (v *Verifier) checked(opts []VerifyOption) (*demands, error) {
	d := together(opts, new(demands))
	for _, a := range v.issuers {
		if err := a.takes(context.Background(), d); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// sufficient says whether an acceptable token is good for this call.
func (a *acceptor) sufficient(c *Claims, d *demands, now int64) error {
	for _, s := range d.scopes {
		switch {
		case slices.Contains(c.scopes, s):
		case c.unusable&unusableScope != 0:
			return fmt.Errorf("token: %w: scope is not a string (of an array Profile.ScopeClaim says so)", ErrInsufficientScope)
		case c.scopes == nil:
			return fmt.Errorf("token: %w: no scope", ErrInsufficientScope)
		default:
			return fmt.Errorf("token: %w: scope lacks %q", ErrInsufficientScope, s)
		}
	}
	if d.maxAge != 0 {
		age := now - c.authTime.ms
		switch {
		case c.unusable&unusableAuthTime != 0:
			return fmt.Errorf("token: %w: auth_time is no number of seconds", errInsufficientAuthentication)
		case !c.authTime.set:
			return fmt.Errorf("token: %w: no auth_time", errInsufficientAuthentication)
		case age > d.maxAge.Milliseconds()+a.leeway:
			return fmt.Errorf("token: %w: auth_time is too long ago", errInsufficientAuthentication)
		case age < -a.leeway: // it would stay fresh for ever
			return fmt.Errorf("token: %w: auth_time lies in the future", errInsufficientAuthentication)
		}
	}
	if d.acr != nil && !slices.Contains(d.acr, c.acr) {
		switch {
		case c.unusable&unusableACR != 0:
			return fmt.Errorf("token: %w: acr is not a string", errInsufficientAuthentication)
		case c.acr == "":
			return fmt.Errorf("token: %w: no acr", errInsufficientAuthentication)
		}
		return fmt.Errorf("token: %w: acr is none of %q", errInsufficientAuthentication, d.acr)
	}
	return nil
}
