package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/token"
)

// requests compares whole requests by approach.
func (r *run) requests() error {
	live := pick(r, 1_000_000, 100_000)
	r.page.title("Cost of a request, by approach")
	r.page.line("EdDSA, %s live revocations: what a service pays to know that the token of a request is good and not revoked, in one goroutine. Redis and introspection are on this machine, unencrypted, and the introspecting server checks no signature: a network, TLS and that check come on top.", thousands(live))
	p := load.NewParty(token.EdDSA)
	raws := p.Tokens(1024)
	list := load.FreshList()
	load.Revoke(list, live)
	first, again := p.Verifier(list, 0), p.Verifier(list, 64<<20)
	ctx := context.Background()
	for _, raw := range raws {
		load.Must(again.Verify(ctx, raw))
	}
	asked := load.Ask(1024, live)
	gojwt, parse := golangJWT(p), jwxParse(p)
	locked := lockedMap(live)
	filter := lockedBloom(live)
	all := []measure.Contender{
		worker("hybridtoken, seen before", raws, func(raw string) error { _, err := again.Verify(ctx, raw); return err }),
		worker("hybridtoken, first time", raws, func(raw string) error { _, err := first.Verify(ctx, raw); return err }),
		worker("golang-jwt, no revocation", raws, gojwt),
		worker("jwx, no revocation", raws, parse),
	}
	with := func(name string, d denylist) measure.Contender {
		return measure.Contender{Name: name, Work: func(i int) {
			if err := gojwt(raws[i%len(raws)]); err != nil {
				fail(name, err)
			}
			d.revoked(&asked[i%len(asked)])
		}}
	}
	all = append(all, with("golang-jwt + map under RWMutex", locked), with("golang-jwt + Bloom under RWMutex", filter))
	if d, err := startRedis(live); err != nil {
		fmt.Fprintf(os.Stderr, "          %v\n", err)
		r.page.line("*%v.*", err)
	} else {
		defer d.close()
		all = append(all, with("golang-jwt + Redis EXISTS", d))
	}
	d, err := introspection(live)
	if err != nil {
		return err
	}
	defer d.close()
	all = append(all, measure.Contender{Name: "introspection over HTTP", Work: func(i int) { d.revoked(&asked[i%len(asked)]) }})
	times := measure.Rounds(pick(r, 64, 12), 32, all...)
	rows := [][]string{{"approach", "time"}}
	var chart []bar
	for i, c := range all {
		name := c.Name
		if i < 2 {
			name = "**" + name + "**"
		}
		rows = append(rows, []string{name, spread(times[i], measure.Nanos)})
		chart = append(chart, bar{c.Name, times[i].Median() / 1e3, i < 2})
	}
	r.page.table(rows...)
	return r.bars("requests.svg", "Cost of a request", "µs, logarithmic", chart)
}
