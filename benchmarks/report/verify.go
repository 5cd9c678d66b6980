package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v2/jwt"

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

// cached is budgets B2 and B13.
func (r *run) cached() error {
	live := pick(r, 1_000_000, 100_000)
	r.page.title("Verifying a token that is remembered")
	r.page.line("10,000 tokens by Zipf's law (1.1), %s live revocations, freshness included, beside a bare get of the same token from the cache library. Both caches are %.0f %% full: one that is less than half full spares itself what keeps it in order. *Remote keys* are another process's, *an option* is `RequireScope`, the Middleware gets the request from net/http and its handler the claims. A token that was found in order is looked up in the denylist again when an event comes that could concern it: with 20,000 events a second all the time, without events not once more.", thousands(live), 100*load.Fullness)
	m := load.NewRemembered(live)
	remote := m.Party.RemoteKeys()
	defer remote.Close()
	own := func() *token.Verifier { return m.Remembering(m.Party.Ring) } // each its own, or one would warm the other's memory
	all := []measure.Contender{
		{Name: "bare get", Work: m.Get()},
		{Name: "Verify", Work: m.Verify(own())},
		{Name: "Verify, remote keys", Work: m.Verify(m.Remembering(remote))},
		{Name: "Verify, an option", Work: m.Verify(own(), token.RequireScope("orders.read"))},
		{Name: "Middleware", Work: m.Middleware(own())},
	}
	allocs := make([]float64, len(all))
	for i, c := range all {
		n := 0
		allocs[i] = testing.AllocsPerRun(20_000, func() { n++; c.Work(n) })
	}
	rounds := pick(r, 256, 32)
	times := measure.Rounds(rounds, 1<<12, all...)
	stop := load.Arriving(20_000, apply(m.List))
	beside20k := measure.Rounds(rounds, 1<<12, all[:2]...)
	events := stop()

	rows := [][]string{{"way", "events a second", "time", "× a bare get", "allocations"}}
	var chart []bar
	ratios := make([]measure.Samples, len(all))
	for i, c := range all {
		name := c.Name
		if ratios[i] = times[i].Over(times[0]); i > 0 {
			name = "**" + name + "**"
		}
		rows = append(rows, []string{name, "0", measure.Nanos(times[i].Median()), spread(ratios[i], decimal), fmt.Sprintf("%.0f", allocs[i])})
		chart = append(chart, bar{c.Name, times[i].Median(), i > 0})
	}
	busy := beside20k[1].Over(beside20k[0])
	rows = append(rows,
		[]string{all[0].Name, fmt.Sprintf("%.0f", events), measure.Nanos(beside20k[0].Median()), "", "–"},
		[]string{"**Verify**", fmt.Sprintf("%.0f", events), measure.Nanos(beside20k[1].Median()), spread(busy, decimal), "–"})
	r.page.table(rows...)

	more := func(i int) measure.Samples { return ratios[i].Beyond(ratios[1]) }
	r.judge("B2", "`Verify`, cached, over a bare get", fmt.Sprintf("%.2f×, %.0f allocations", ratios[1].Median(), allocs[1]), "1.7×, 0 allocations", measure.Worst(measure.Judge(ratios[1], 1.7), measure.JudgeExact(allocs[1], 0)))
	r.judge("B2", "the same with 20,000 events/s", fmt.Sprintf("%.2f×", busy.Median()), "2.1×", beside(measure.Judge(busy, 2.1), events, 20_000))
	r.judge("B2", "remote keys, and an option, beyond that", fmt.Sprintf("%+.2f×, %+.2f×, %.0f and %.0f allocations", more(2).Median(), more(3).Median(), allocs[2], allocs[3]), "0.2×, 0 allocations",
		measure.Worst(measure.Judge(more(2), .2), measure.Judge(more(3), .2), measure.JudgeExact(max(allocs[2], allocs[3]), 0)))
	r.judge("B13", "the whole Middleware over a bare get", fmt.Sprintf("%.2f×, %.0f allocations", ratios[4].Median(), allocs[4]), "3.5×, 2 allocations", measure.Worst(measure.Judge(ratios[4], 3.5), measure.JudgeExact(allocs[4], 2)))
	return r.bars("cached.svg", "A token that is remembered", "ns, logarithmic", chart)
}

// cores compares one goroutine with many.
func (r *run) cores() error {
	r.page.title("Many goroutines")
	r.page.line("`Verify` of a remembered token, in one goroutine on one core, and in several on all cores, as many calls a core: by how much longer they take. Bare gets from the cache library beside it tell what of that is the machine's.")
	m := load.NewRemembered(100_000)
	rows := [][]string{{"goroutines a core", "bare get", "`Verify`"}}
	var lines [2]series
	for i, c := range []struct {
		name string
		work func(int)
	}{{"bare get", m.Get()}, {"Verify", m.Verify(m.Remembering(m.Party.Ring))}} {
		lines[i].name = c.name
		times := measure.Rounds(pick(r, 64, 12), 1, load.Cores(1<<12, c.work)...)
		for k, each := range []int{1, 2, 4, 8} {
			ratio := times[k+1].Over(times[0])
			if i == 0 {
				rows = append(rows, []string{fmt.Sprint(each)})
			}
			rows[k+1] = append(rows[k+1], spread(ratio, decimal))
			lines[i].x, lines[i].y = append(lines[i].x, float64(each)), append(lines[i].y, ratio.Median())
		}
	}
	r.page.table(rows...)
	return r.lines("cores.svg", "Many goroutines", "goroutines a core", "× the time of one goroutine", true, lines[:]...)
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
