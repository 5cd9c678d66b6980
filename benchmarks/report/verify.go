package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/maypok86/otter/v2"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// fail ends a section whose contender does not do its work: a time of nothing is none.
func fail(name string, err error) { panic(fmt.Errorf("%s: %v", name, err)) }

// jwxParse, golangJWT and goJOSE verify a token as their documentation shows: signature,
// issuer, audience and times.
func jwxParse(p load.Party) func(string) error {
	key := load.Must(jwk.FromRaw(p.Public))
	load.Must(0, key.Set(jwk.KeyIDKey, p.KeyID()))
	load.Must(0, key.Set(jwk.AlgorithmKey, jwa.SignatureAlgorithm(p.Algorithm)))
	set := jwk.NewSet()
	load.Must(0, set.AddKey(key))
	return func(raw string) error {
		_, err := jwxjwt.Parse([]byte(raw), jwxjwt.WithKeySet(set), jwxjwt.WithIssuer(load.Issuer), jwxjwt.WithAudience("orders"))
		return err
	}
}

type golangClaims struct {
	jwt.RegisteredClaims
	Client  string `json:"client_id"`
	Session string `json:"sid"`
	Tenant  string `json:"tenant"`
	Scope   string `json:"scope"`
	Role    string `json:"role"`
}

func golangJWT(p load.Party) func(string) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{string(p.Algorithm)}), jwt.WithIssuer(load.Issuer), jwt.WithAudience("orders"), jwt.WithExpirationRequired())
	return func(raw string) error {
		_, err := parser.ParseWithClaims(raw, new(golangClaims), func(*jwt.Token) (any, error) { return p.Public, nil })
		return err
	}
}

func goJOSE(p load.Party) func(string) error {
	type claims struct {
		josejwt.Claims
		Client  string `json:"client_id"`
		Session string `json:"sid"`
		Tenant  string `json:"tenant"`
		Scope   string `json:"scope"`
		Role    string `json:"role"`
	}
	algs := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(p.Algorithm)}
	return func(raw string) error {
		t, err := josejwt.ParseSigned(raw, algs)
		if err != nil {
			return err
		}
		var c claims
		if err := t.Claims(p.Public, &c); err != nil {
			return err
		}
		return c.Validate(josejwt.Expected{Issuer: load.Issuer, AnyAudience: josejwt.Audience{"orders"}})
	}
}

// worker returns a contender that does f to one token after the other.
func worker(name string, raws []string, f func(string) error) measure.Contender {
	return measure.Contender{Name: name, Work: func(i int) {
		if err := f(raws[i%len(raws)]); err != nil {
			fail(name, err)
		}
	}}
}

// verify is budget B1.
func (r *run) verify() error {
	r.page.title("Verifying a token not seen before")
	r.page.line("Ten claims, 1,024 different tokens; `Verify` includes its check against a denylist that is fresh and empty (the request's whole cost with a full one stands below), the others check signature, issuer, audience and times and no revocation. *Bare* is the check of the same signature with the standard library.")
	rows := [][]string{{"algorithm", "way", "time", "beyond bare", "× bare", "allocations beyond bare"}}
	var verdicts []measure.Verdict
	var said []string
	for _, alg := range []token.Algorithm{token.EdDSA, token.ES256, token.RS256} {
		p := load.NewParty(alg)
		raws := p.Tokens(1024)
		signatures := p.Signatures(raws)
		v := p.Verifier(load.FreshList(), 0)
		ctx := context.Background()
		all := []measure.Contender{
			{Name: "bare signature", Work: func(i int) {
				if !p.Bare(&signatures[i%len(raws)]) {
					fail("bare", fmt.Errorf("bad signature"))
				}
			}},
			worker("hybridtoken", raws, func(raw string) error { _, err := v.Verify(ctx, raw); return err }),
			worker("golang-jwt", raws, golangJWT(p)),
			worker("go-jose", raws, goJOSE(p)),
			worker("jwx", raws, jwxParse(p)),
		}
		allocs := make([]float64, len(all))
		for i, c := range all {
			n := 0
			allocs[i] = testing.AllocsPerRun(200, func() { n++; c.Work(n) })
		}
		times := measure.Rounds(pick(r, 64, 12), pick(r, 128, 16), all...)
		for i, c := range all {
			beyond, ratio := times[i].Beyond(times[0]), times[i].Over(times[0])
			row := []string{string(alg), c.Name, measure.Nanos(times[i].Median()), "", "", ""}
			if i > 0 {
				row[3] = spread(beyond, measure.Nanos)
				row[4] = spread(ratio, decimal)
				row[5] = fmt.Sprintf("%.0f", allocs[i]-allocs[0])
			}
			if i == 1 {
				row[1] = "**hybridtoken**"
				verdicts = append(verdicts, measure.Judge(beyond, 4000), measure.JudgeExact(allocs[1]-allocs[0], 6))
				if alg != token.RS256 {
					verdicts = append(verdicts, measure.Judge(ratio, 1.08))
				}
				said = append(said, fmt.Sprintf("%s %s, %.3f×, %.0f allocations", alg, measure.Nanos(beyond.Median()), ratio.Median(), allocs[1]-allocs[0]))
			}
			rows = append(rows, row)
		}
	}
	r.page.table(rows...)
	r.judge("B1", "`Verify` beyond the bare signature", strings.Join(said, "; "), "4 µs, 6 allocations; EdDSA and ES256 1.08×", measure.Worst(verdicts...))
	return nil
}

func spread(s measure.Samples, write func(float64) string) string {
	return fmt.Sprintf("%s [%s, %s]", write(s.Median()), write(s.Quantile(.25)), write(s.Quantile(.75)))
}

func decimal(x float64) string { return fmt.Sprintf("%.2f", x) }

// cached is budget B2.
func (r *run) cached() error {
	live := pick(r, 1_000_000, 100_000)
	const tokens, cacheBytes = 10_000, 64 << 20
	r.page.title("Verifying a token that is remembered")
	r.page.line("10,000 tokens by Zipf's law (1.1), %s live revocations, freshness included, beside a bare get of the same token from the cache library. Both have room for all (%d MiB). A token that was found in order is looked up in the denylist again when an event comes that could concern it: with 20,000 events a second all the time, without events not once more.", thousands(live), cacheBytes>>20)
	p := load.NewParty(token.EdDSA)
	raws := p.Tokens(tokens)
	list := load.FreshList()
	load.Revoke(list, live)
	v := p.Verifier(list, cacheBytes)
	bare := otter.Must(&otter.Options[string, *token.Claims]{
		MaximumWeight: cacheBytes, Weigher: func(raw string, _ *token.Claims) uint32 { return uint32(len(raw)) + 1200 },
	})
	ctx := context.Background()
	asked := make([]string, tokens) // not the strings that are in the caches
	for i, raw := range raws {
		bare.Set(strings.Clone(raw), load.Must(v.Verify(ctx, raw)))
		asked[i] = strings.Clone(raw)
	}
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, tokens-1)
	order := make([]uint16, 1<<16)
	for i := range order {
		order[i] = uint16(zipf.Uint64())
	}
	get := measure.Contender{Name: "get", Work: func(i int) {
		if _, ok := bare.GetIfPresent(asked[order[i%len(order)]]); !ok {
			fail("get", fmt.Errorf("gone"))
		}
	}}
	verify := measure.Contender{Name: "Verify", Work: func(i int) {
		if _, err := v.Verify(ctx, asked[order[i%len(order)]]); err != nil {
			fail("Verify", err)
		}
	}}
	n := 0
	allocs := testing.AllocsPerRun(20_000, func() { n++; verify.Work(n) })
	rows := [][]string{{"events a second", "bare get", "`Verify`", "×", "allocations"}}
	var verdicts []measure.Verdict
	var said []string
	for _, c := range []struct {
		perSecond int
		budget    float64
	}{{0, 3}, {20_000, 4}} {
		stop := func() float64 { return 0 }
		if c.perSecond > 0 {
			stop = load.Arriving(c.perSecond, apply(list))
		}
		times := measure.Rounds(pick(r, 256, 32), 1<<12, get, verify)
		events := stop()
		ratio := times[1].Over(times[0])
		rows = append(rows, []string{fmt.Sprintf("%.0f", events), measure.Nanos(times[0].Median()), measure.Nanos(times[1].Median()), spread(ratio, decimal), allocations(allocs, c.perSecond)})
		verdicts = append(verdicts, beside(measure.Judge(ratio, c.budget), events, c.perSecond), measure.JudgeExact(allocs, 0))
		said = append(said, fmt.Sprintf("%.2f× with %d events/s", ratio.Median(), c.perSecond))
	}
	r.page.table(rows...)
	r.judge("B2", "`Verify`, cached, over a bare get", strings.Join(said, ", ")+fmt.Sprintf(", %.0f allocations", allocs), "3×; 4× with 20,000 events/s; 0 allocations", measure.Worst(verdicts...))
	return nil
}

// beside is the verdict on what was measured beside events. Where they came more slowly
// than they were to, nothing is met.
func beside(v measure.Verdict, reached float64, wanted int) measure.Verdict {
	if v == measure.Met && reached < .95*float64(wanted) {
		return measure.Noisy
	}
	return v
}

// allocations writes how many there were, which is counted while no events arrive:
// theirs would count too.
func allocations(n float64, perSecond int) string {
	if perSecond > 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", n)
}

// apply returns what revokes a token by its jti.
func apply(list *revoke.List) func(string) {
	return func(value string) {
		if err := list.Apply(revoke.Now(), revoke.Event{Issuer: load.Issuer, Kind: revoke.KindToken, Value: value}); err != nil {
			fail("Apply", err)
		}
	}
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
