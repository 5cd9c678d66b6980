package token

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A VerifyOption changes one call of [Verifier.Verify], such as that of one route. What it
// asks for is made ready when it is made, not at each call.
type VerifyOption func() *demands

// demands are what one option asks for, or several together. They are immutable: each call
// that an option is given to reads the same.
type demands struct {
	whenStale revoke.Policy
	staleSet  bool
	sender    Sender
	senderSet bool
	asIssuer  bool // whatever the audience, without proof of possession
	scopes    []string
	maxAge    time.Duration
	acr       []string
	grace     time.Duration
	graceSet  bool
	err       error // of an option that cannot take effect

	number atomic.Uint32 // see satisfied
}

// nothing is what a call without options asks for.
var nothing demands

// option returns d as a VerifyOption. Nobody may change d any more.
func (d *demands) option() VerifyOption { return func() *demands { return d } }

// together returns what opts ask for. Of several it is collected in all, which must be
// empty; of one it is what that was made with.
func together(opts []VerifyOption, all *demands) *demands {
	switch {
	case len(opts) == 0, len(opts) == 1 && opts[0] == nil:
		return &nothing
	case len(opts) == 1:
		return opts[0]()
	}
	for _, o := range opts {
		if o != nil {
			all.add(o())
		}
	}
	return all
}

func (d *demands) add(o *demands) {
	if d.err == nil {
		d.err = o.err
	}
	if o.staleSet {
		d.whenStale, d.staleSet = o.whenStale, true
	}
	if o.senderSet {
		d.sender, d.senderSet = o.sender, true
	}
	d.asIssuer = d.asIssuer || o.asIssuer
	if n := len(d.scopes); n == 0 {
		d.scopes = o.scopes
	} else {
		d.scopes = append(d.scopes[:n:n], o.scopes...)
	}
	if o.maxAge != 0 && (d.maxAge == 0 || o.maxAge < d.maxAge) {
		d.maxAge = o.maxAge
	}
	if o.acr != nil {
		d.acr = o.acr
	}
	if o.graceSet {
		d.grace, d.graceSet = o.grace, true
	}
}

// asks reports whether d asks for more than an acceptable token.
func (d *demands) asks() bool { return d.scopes != nil || d.maxAge != 0 || d.acr != nil }

// takes returns an error if a call with d could accept nothing.
func (a *acceptor) takes(ctx context.Context, d *demands) error {
	if ctx == nil {
		panic("token: nil context") // whether or not the token is remembered
	}
	err := d.err
	if err == nil && d.staleSet {
		err = a.cfg.validatePolicy(d.whenStale)
	}
	if err != nil {
		return fmt.Errorf("token: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// policy is what happens in a call with d while the denylist is stale.
func (a *acceptor) policy(d *demands) revoke.Policy {
	if d.staleSet {
		return d.whenStale
	}
	return a.cfg.WhenStale
}
