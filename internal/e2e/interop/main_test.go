package main

import (
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
)

// A table is made only of verifiers that answer for every algorithm and refuse a forgery.
func TestTableRefusesWhatShowsNothing(t *testing.T) {
	whole := []answer{{"v", "1", mixed, "ok"}, {"v", "1", forged, "bad signature"}}
	for _, a := range []token.Algorithm{token.ES256, token.RS256, token.PS256, token.EdDSA} {
		whole = append(whole, answer{"v", "1", string(a), "ok"})
	}
	got, err := table(whole)
	if err != nil || !strings.Contains(got, "| v | 1 | yes | yes | yes | yes | yes |\n") {
		t.Fatalf("%v\n%s", err, got)
	}
	without := func(alg string) (list []answer) {
		for _, a := range whole {
			if a.alg != alg {
				list = append(list, a)
			}
		}
		return list
	}
	for name, list := range map[string][]answer{
		"takes a forgery":        append(without(forged), answer{"v", "1", forged, "ok"}),
		"was not shown one":      without(forged),
		"one algorithm missing":  append(without("RS256"), answer{"w", "1", "RS256", "ok"}, answer{"w", "1", forged, "no"}),
		"nobody takes algorithm": append(without("RS256"), answer{"v", "1", "RS256", "no"}),
	} {
		if got, err := table(list); err == nil {
			t.Errorf("%s: made\n%s", name, got)
		}
	}
}
