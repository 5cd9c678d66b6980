package issue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A clockGrid is one point of TestSlackGrid. The clock of the bubble is the verifier's;
// the others' are off from it by so much, and any two of them differ by MaxSkew at most.
type clockGrid struct {
	skew                             time.Duration // MaxSkew
	issuer, publisher, other, broker time.Duration
	phase                            time.Duration // of the verifier's clock, in its second
}

func (g clockGrid) String() string {
	return fmt.Sprintf("MaxSkew %s: issuer %s, publisher %s, another %s, broker %s off the verifier's clock, at %s of the second", g.skew, g.issuer, g.publisher, g.other, g.broker, g.phase)
}

// valid reports whether any two clocks are within MaxSkew of each other.
func (g clockGrid) valid() bool {
	all := []time.Duration{0, g.issuer, g.publisher, g.other, g.broker}
	for _, a := range all {
		for _, b := range all {
			if (a - b).Abs() > g.skew {
				return false
			}
		}
	}
	return true
}

// bothKeys finds the keys of an Issuer of ours, and that of forged tokens.
type bothKeys struct {
	*issue.Keyring
	forged *token.StaticKeySet
}

func (k bothKeys) Lookup(ctx context.Context, kid string, alg token.Algorithm) (*token.Key, error) {
	if kid == "ed" {
		return k.forged.Lookup(ctx, kid, alg)
	}
	return k.Keyring.Lookup(ctx, kid, alg)
}

// TestSlackGrid holds invariants 1 and 5 against clocks: whatever those of publishers,
// issuer, verifier and broker say, as long as no two differ by more than MaxSkew, each
// token that was issued before a revocation was published is refused once the event is
// applied, for good, and each login that follows it, as Request.After has it, is let
// in at once and is dated in no future. The tokens before are plain, dated past an earlier
// cutoff of another publisher, dated back by a refresh, without hyt_at as other people's
// are, and of clocks that are as far ahead as a verifier lets them be. Events come as
// Publish writes them, and with less, as by hand.
func TestSlackGrid(t *testing.T) {
	forge.Keys()
	skews := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 10 * time.Second}
	if testing.Short() {
		skews = skews[2:3]
	}
	ring := forge.Ring(t, issue.KeyringConfig{})
	points, before, after := 0, 0, 0
	for _, skew := range skews {
		offs := []time.Duration{-skew, -skew / 2, 0, skew / 2, skew}
		edges := []time.Duration{-skew, 0, skew}
		phase := 999 * time.Millisecond
		if skew == time.Second || skew == 10*time.Second {
			phase = time.Millisecond
		}
		for _, issuer := range offs {
			for _, publisher := range offs {
				for _, other := range edges {
					for _, broker := range edges {
						g := clockGrid{skew, issuer, publisher, other, broker, phase}
						if !g.valid() {
							continue
						}
						points++
						synctest.Test(t, func(t *testing.T) {
							b, a := g.run(t, ring)
							before, after = before+b, after+a
						})
						if t.Failed() {
							t.Fatal(g) // the rest says the same
						}
					}
				}
			}
		}
	}
	t.Logf("%d points: %d tokens issued before a revocation, %d logins after one", points, before, after)
	if points < 20*len(skews) || before < 20*points || after < 3*points {
		t.Error("too few to show anything")
	}
}

var gridKinds = []revoke.Kind{revoke.KindToken, revoke.KindSession, revoke.KindSubject, revoke.KindClient, revoke.KindTenant, revoke.KindIssuer}

func (g clockGrid) run(t *testing.T, ring *issue.Keyring) (before, after int) {
	ed := forge.Ed(t, "ed", forge.Keys().Ed)
	forged := forge.StaticKeys(t, ed)
	time.Sleep(time.Hour + g.phase)
	at := func(off time.Duration) time.Time { return time.Now().Add(off) }
	retention := revoke.Retention{TokenLifetime: time.Hour, SessionLifetime: 24 * time.Hour, MaxSkew: g.skew}

	list := forge.NewList(t, revoke.Config{MaxSkew: g.skew, MaxStaleness: time.Minute})
	feed, err := replica.NewFeed(list)
	if err != nil {
		t.Fatal(err)
	}
	sub := feed.Begin(revoke.Now(), replica.LogInfo{Retention: retention})
	sequence := uint64(0)
	publish := func(off time.Duration, e revoke.Event, less int) revoke.Receipt {
		t.Helper()
		e.Issuer = forge.Issuer
		e, err := e.Complete(at(off), retention)
		if err != nil {
			t.Fatal(err)
		}
		sequence++
		wire := e
		switch less { // what others write by hand
		case 1:
			wire.Before, wire.Until = time.Time{}, time.Time{}
		case 2:
			wire.Before, wire.Until, wire.At = time.Time{}, time.Time{}, time.Time{}
		case 3: // a clock that was wrong when it was written, or no clock at all
			if e.Kind.Cutoff() {
				wire.Before, wire.At = at(48*time.Hour), time.Time{}
			}
		}
		r := replica.Record{Generation: sub.Generation, Delivery: sequence, Sequence: sequence, Time: at(g.broker), Subject: "s", Data: fmt.Append(nil, sequence)}
		if err := feed.Event(revoke.Now(), r, wire); err != nil {
			t.Fatal(err)
		}
		return revoke.Receipt{ID: e.ID, Sequence: sequence, Event: e}
	}
	verifier := func(own bool) *token.Verifier {
		return forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.OwnIssuer = []token.Algorithm{token.EdDSA}, token.KeySet(bothKeys{ring, forged}), own
			// What is not proven is let in here: the events are what this is about.
			c.Revocations, c.InsecureNoRevocations, c.WhenStale = list, false, revoke.InsecureAllow()
			c.CacheBytes = 64 << 10
		})
	}
	verifiers := []*token.Verifier{verifier(true)}
	if g.skew >= time.Second {
		verifiers = append(verifiers, verifier(false))
	}
	ours, err := issue.NewIssuer(issue.Config{Issuer: forge.Issuer, Keys: ring, MaxSkew: g.skew})
	if err != nil {
		t.Fatal(err)
	}
	ours.SetClock(func() time.Time { return at(g.issuer) })

	type issuedToken struct {
		what, raw string
		mustEnter bool // before the revocation, at the verifier that knows its issuer
	}
	n := 0
	for _, kind := range gridKinds {
		for less := range 4 {
			n++
			name := fmt.Sprint(n)
			client, session, tenant := "client-"+name, "session-"+name, "tenant-"+name
			request := issue.Request{Subject: "user-" + name, Client: client, Session: session, Tenant: tenant, Audience: []string{forge.Audience}}
			var list []issuedToken
			mint := func(what string, r issue.Request) string {
				t.Helper()
				issued := forge.Issue(t, ours, r)
				c := issued.Claims()
				if c.IssuedAt().After(at(g.issuer)) || c.IssuedAt().Nanosecond() != 0 || c.MintedAt().After(at(g.issuer+g.skew)) {
					t.Errorf("%s: iat %s, hyt_at %s, the issuer's clock %s", what, c.IssuedAt(), c.MintedAt(), at(g.issuer))
				}
				list = append(list, issuedToken{what, issued.Raw(), true})
				return issued.Raw()
			}
			foreign := func(what string, iat string, mustEnter bool) {
				claims := forge.Claims(time.Now()).Without("nbf").With("iat", iat).With("exp", fmt.Sprint(time.Now().Unix()+900)).
					With("sub", `"user-`+name+`"`).With("client_id", `"`+client+`"`).With("sid", `"`+session+`"`).With("tenant", `"`+tenant+`"`).
					With("jti", fmt.Sprintf(`"jti-%s-%d"`, name, len(list)))
				list = append(list, issuedToken{what, ed.Forge(ed.Header(), claims), mustEnter})
			}
			fraction := func(t time.Time) string { return fmt.Sprintf("%d.%03d", t.Unix(), t.Nanosecond()/1e6) }

			// A token must be named by its own event; all others by one for all.
			event := revoke.Event{Kind: kind}
			switch kind {
			case revoke.KindSession:
				event.Value = session
			case revoke.KindSubject:
				event.Value = request.Subject
			case revoke.KindClient:
				event.Value = client
			case revoke.KindTenant:
				event.Value = tenant
			}
			if kind.Cutoff() {
				first := publish(g.other, revoke.Event{Kind: kind, Value: event.Value}, 0)
				r := request
				r.After = first
				mint("dated past an earlier cutoff", r)
			} else {
				mint("plain", request)
			}
			late := request
			late.IssuedAt = at(g.issuer - 3*time.Second)
			if !kind.Cutoff() || kind == revoke.KindSubject {
				late.Subject, late.Client, late.Tenant = request.Subject, request.Client, request.Tenant
			}
			back := forge.Issue(t, ours, late)
			list = append(list, issuedToken{"dated back by a refresh", back.Raw(), false}) // the earlier cutoff covers it
			foreign("another issuer's, the whole second", fmt.Sprint(at(g.issuer).Unix()), false)
			foreign("of the version before, to the millisecond", fraction(at(g.issuer)), false)
			for _, ahead := range []time.Duration{g.skew, 3 * g.skew / 2, 2 * g.skew} {
				foreign(fmt.Sprintf("of a clock %s ahead", ahead), fraction(at(ahead)), false)
			}
			// Who is let in now holds a token that was issued before.
			var entered []issuedToken
			for _, x := range list {
				for i, v := range verifiers {
					_, err := v.Verify(t.Context(), x.raw)
					if err == nil {
						entered = append(entered, x)
						before++
						break
					}
					if i == 0 && x.mustEnter {
						t.Errorf("%s, %s: refused before: %v", kind, x.what, err)
					}
				}
			}
			var receipt revoke.Receipt
			if kind == revoke.KindToken {
				for _, x := range list {
					var claims struct {
						JTI string `json:"jti"`
					}
					if err := json.Unmarshal([]byte(forge.PayloadOf(t, x.raw)), &claims); err != nil {
						t.Fatal(err)
					}
					receipt = publish(g.publisher, revoke.Event{Kind: kind, Value: claims.JTI}, less)
				}
			} else {
				receipt = publish(g.publisher, event, less)
			}
			refused := func(when string) {
				for _, x := range entered {
					for i, v := range verifiers {
						if _, err := v.Verify(t.Context(), x.raw); !errors.Is(err, revoke.ErrRevoked) && !errors.Is(err, token.ErrNotYetValid) {
							t.Errorf("%s, event without %d of its members, %s, verifier %d: a token that was issued before, %s: %v", kind, less, when, i, x.what, err)
						}
					}
				}
			}
			refused("at once")
			// A login that follows passes at once, and leaves those before where they are.
			next := request
			next.Session, next.After = session+"-next", receipt
			list = nil
			raw := mint("a login after it", next)
			if less == 0 || less == 3 && !kind.Cutoff() {
				after++
				if _, err := verifiers[0].Verify(t.Context(), raw); err != nil {
					t.Errorf("%s: a login after it: %v", kind, err)
				}
			}
			refused("after that login")
			time.Sleep(3*g.skew + 1100*time.Millisecond)
			refused("later")
			// Others' tokens pass, too, if three times MaxSkew and a second have gone by.
			list = nil
			foreign("another issuer's, later", fmt.Sprint(at(g.issuer).Unix()), false)
			for i, v := range verifiers {
				if _, err := v.Verify(t.Context(), list[0].raw); (err == nil) == (kind == revoke.KindSession) {
					t.Errorf("%s, event without %d of its members, verifier %d: another issuer's token 3 MaxSkew and a second later: %v", kind, less, i, err)
				}
			}
		}
	}
	return before, after
}
