package token

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/admit"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func init() {
	admit.AsIssuer = (&demands{asIssuer: true}).option()
	admit.NewRoute = func(verifier, options, owner any) (admit.Route, error) {
		r, err := verifier.(*Verifier).route(options.([]VerifyOption))
		if err != nil {
			return nil, err
		}
		return &carried{*r, owner}, nil
	}
	admit.Raw = func(ctx context.Context, owner any) string {
		if a, ok := ctx.Value(admissionKey{}).(*admission); ok && a.carrier == owner {
			return a.carried
		}
		return ""
	}
	admit.Expired = func(ctx context.Context, verifier any, raw string) any {
		return verifier.(*Verifier).expired(ctx, raw)
	}
}

// expired returns the claims of a token that has expired, and of which nothing else that comes
// before that is wrong.
func (v *Verifier) expired(ctx context.Context, raw string) *Claims {
	s, err := cut(raw, v.maxTokenBytes)
	if err != nil {
		return nil
	}
	a, err := v.choose(raw)
	if err != nil {
		return nil
	}
	claims, err := a.signed(ctx, s)
	if err != nil || !errors.Is(a.judge(claims, time.Now().UnixMilli()), ErrExpired) {
		return nil
	}
	return claims
}

// A carried is a route whose tokens come otherwise than in an Authorization header. None of
// them proves that its sender holds a key.
type carried struct {
	route
	owner any // who carries them
}

func (p *carried) Admit(r *http.Request, raw string) (admit.Admission, error) {
	ok, err := p.v.verify(r.Context(), raw, revoke.Now(), p.v.cache.find(raw), p.demands, &presented{sender: p.demands.sender})
	if err != nil {
		return nil, err
	}
	a := &admission{owner: p.v, carrier: p.owner, carried: raw}
	a.init(r.Context(), ok, p.demands, p.grace)
	return a, nil
}

func (p *carried) Again(r *http.Request) (admit.Admission, bool, error) {
	outer, ok := r.Context().Value(admissionKey{}).(*admission)
	if !ok || outer.carrier != p.owner || outer.owner != p.v {
		return nil, false, nil
	}
	a := new(admission)
	return a, true, p.within(r.Context(), a, outer)
}

func (p *carried) Accepted() { p.v.refused.Accepted() }

func (p *carried) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		p.refuse(w, "", errNoToken)
		return
	}
	p.log(r.Context(), err)
	p.refuse(w, "", err)
}

// Stop ends the context.
func (a *admission) Stop() { a.stop() }
