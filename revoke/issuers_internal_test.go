package revoke

import (
	"fmt"
	"slices"
	"testing"
)

// steps counts the nodes that a look-up of issuer passes.
func (s *issuers) steps(issuer string) (n int) {
	for node := s.head(s.table.Load(), issuer).Load(); node != nil; node = node.next {
		if n++; node.issuer == issuer {
			break
		}
	}
	return n
}

// TestIssuerLookupIsConstant counts steps instead of measuring time: what a look-up
// passes does not grow with the number of issuers, neither for those that are named nor
// for strangers.
func TestIssuerLookupIsConstant(t *testing.T) {
	var s issuers
	s.init()
	h := newHasher()
	name := func(i int) string { return fmt.Sprintf("https://tenant-%d.example.com", i) }
	checked := 0
	check := func(n int) {
		checked++
		sum, worst := 0, 0
		for i := range 2 * n { // the second half are strangers
			steps := s.steps(name(i))
			sum, worst = sum+steps, max(worst, steps)
			if found := s.find(name(i)); (found != nil) != (i < n) || found != nil && found.issuer != name(i) {
				t.Fatalf("with %d issuers, issuer %d: %v", n, i, found)
			}
		}
		// At most two nodes a chain in the mean, and the longest of n chains grows like log n / log log n.
		if mean := float64(sum) / float64(2*n); mean > 2.5 || worst > 16 {
			t.Errorf("with %d issuers a look-up passes %.2f nodes in the mean, %d at worst", n, mean, worst)
		}
	}
	const most = 20_000
	for n := 1; n <= most; n++ {
		s.add(h, name(n-1))
		if n == 1 || n == 2 || n == 3 || n == 100 || n == 5000 || n == most {
			check(n)
		}
	}
	for n := most - 1; n >= 1; n-- {
		s.remove(name(n))
		if n == 5000 || n == 100 || n == 2 || n == 1 {
			check(n)
		}
	}
	if checked != 10 {
		t.Errorf("%d sizes were looked at", checked)
	}
	if heads := len(s.table.Load().heads); heads > 4 {
		t.Errorf("one issuer is left in %d chains", heads)
	}
	if s.remove(name(0)); !s.empty() || s.find(name(0)) != nil || len(s.all()) != 0 || len(s.alike) != 0 {
		t.Errorf("something is left: %v, %v", s.all(), s.alike)
	}
}

// TestScopesOfNamedIssuers: a name spares work and changes no identity.
func TestScopesOfNamedIssuers(t *testing.T) {
	l, err := NewList(Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		l.ExpectIssuer(fmt.Sprint("https://", i))
	}
	for i := range 200 {
		iss := fmt.Sprint("https://", i)
		d := l.digests(iss)
		if (d.scopes != nil) != (i < 100) {
			t.Fatalf("scopes of %s: %v", iss, d.scopes)
		}
		for k := KindToken; k <= KindIssuer; k++ {
			v := "v"
			if k == KindIssuer {
				v = ""
			}
			if d.of(k, v) != l.hasher.digest(k, iss, v) {
				t.Errorf("%s: another identity of kind %s", iss, k)
			}
		}
	}
}

func TestPlainIssuer(t *testing.T) {
	for plain, of := range map[string][]string{
		"auth.example.com": {"https://auth.example.com", "https://auth.example.com/", "http://auth.example.com", "HTTPS://Auth.Example.com//", " https://auth.example.com", "https://auth.example.com:443/", "http://auth.example.com:80", "auth.example.com", "https://auth.example.com."},
		"example.com/a/b":  {"https://example.com/a/b", "https://example.com/a/b/", "https://example.com//a/b", "https://example.com:443/a/b"},
		"example.com/a":    {"https://example.com/a"},
		"example.com:8443": {"https://example.com:8443", "https://example.com:8443/"},
		"":                 {"", "/", " ", "https://"},
	} {
		for _, iss := range of {
			if got := plainIssuer(iss); got != plain {
				t.Errorf("%q is %q, want %q", iss, got, plain)
			}
		}
	}
	if slices.Contains([]string{plainIssuer("https://a.example.com/t1"), plainIssuer("https://a.example.com:8443/t2")}, plainIssuer("https://a.example.com/t2")) {
		t.Error("two tenants are one")
	}
}
