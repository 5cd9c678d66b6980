package revoke

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// issuers are those that verifiers name. Each check looks its token's issuer up, and a
// service may have a verifier for each of its customers, so that what a look-up costs
// does not depend on their number, nor what naming one costs. They are as many as the
// program names: nothing that arrives from outside is added.
//
// It is a hash table of chains. Readers take no lock: nodes are immutable to them, and
// to add or remove one is to replace the pointer that leads to it.
type issuers struct {
	seed  maphash.Seed
	table atomic.Pointer[issuerTable]
	any   atomic.Int64 // how many verifiers have issuers that are not known beforehand

	mu     sync.Mutex     // the writer's
	count  int            // guarded by mu: nodes in the table
	alike  map[string]int // guarded by mu: how many of them have the same plain form
	sorted []string       // guarded by mu: all of them; nil: to be made anew
}

type issuerTable struct {
	heads []atomic.Pointer[issuerNode] // a power of two, half to twice as many as nodes; at least one
}

type issuerNode struct {
	scopes
	next  *issuerNode
	named int // guarded by issuers.mu: by how many
}

func (s *issuers) init() {
	s.seed = maphash.MakeSeed()
	s.alike = make(map[string]int)
	s.table.Store(&issuerTable{heads: make([]atomic.Pointer[issuerNode], 1)})
}

// head is the chain that holds issuer, if any does.
func (s *issuers) head(t *issuerTable, issuer string) *atomic.Pointer[issuerNode] {
	if len(t.heads) == 1 { // which a service of one or two issuers has: nothing to hash
		return &t.heads[0]
	}
	return &t.heads[maphash.String(s.seed, issuer)&uint64(len(t.heads)-1)]
}

// find returns the scopes of issuer, or nil.
func (s *issuers) find(issuer string) *scopes {
	for n := s.head(s.table.Load(), issuer).Load(); n != nil; n = n.next {
		if n.issuer == issuer {
			return &n.scopes
		}
	}
	return nil
}

// empty reports whether nobody names any, or somebody has others beside those.
func (s *issuers) empty() bool {
	if s.any.Load() > 0 {
		return true
	}
	t := s.table.Load()
	return len(t.heads) == 1 && t.heads[0].Load() == nil
}

// add names issuer once more.
func (s *issuers) add(h hasher, issuer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	head := s.head(t, issuer)
	for n := head.Load(); n != nil; n = n.next {
		if n.issuer == issuer {
			n.named++
			return
		}
	}
	head.Store(&issuerNode{scopes: newScopes(h, strings.Clone(issuer)), next: head.Load(), named: 1})
	s.alike[plainIssuer(issuer)]++
	s.sorted = nil
	if s.count++; s.count > 2*len(t.heads) {
		s.resize(2 * len(t.heads))
	}
}

// remove takes one naming of issuer back.
func (s *issuers) remove(issuer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.table.Load()
	head := s.head(t, issuer)
	gone := head.Load()
	for gone != nil && gone.issuer != issuer {
		gone = gone.next
	}
	if gone == nil {
		return
	}
	if gone.named--; gone.named > 0 {
		return
	}
	rest := gone.next
	for n := head.Load(); n != gone; n = n.next { // what stands before it leads to it
		rest = &issuerNode{scopes: n.scopes, next: rest, named: n.named}
	}
	head.Store(rest)
	plain := plainIssuer(issuer)
	if s.alike[plain]--; s.alike[plain] == 0 {
		delete(s.alike, plain)
	}
	s.sorted = nil
	if s.count--; len(t.heads) > 1 && s.count < len(t.heads)/2 {
		s.resize(len(t.heads) / 2)
	}
}

// resize moves all nodes to a table with that many chains. The caller holds mu.
func (s *issuers) resize(heads int) {
	next := &issuerTable{heads: make([]atomic.Pointer[issuerNode], heads)}
	old := s.table.Load()
	for i := range old.heads {
		for n := old.heads[i].Load(); n != nil; n = n.next {
			head := s.head(next, n.issuer)
			head.Store(&issuerNode{scopes: n.scopes, next: head.Load(), named: n.named})
		}
	}
	s.table.Store(next)
}

// all returns them sorted. The caller does not change the slice.
func (s *issuers) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sorted == nil {
		s.sorted = make([]string, 0, s.count)
		t := s.table.Load()
		for i := range t.heads {
			for n := t.heads[i].Load(); n != nil; n = n.next {
				s.sorted = append(s.sorted, n.issuer)
			}
		}
		slices.Sort(s.sorted)
	}
	return s.sorted
}

// like reports whether issuer, which nobody names, is written much like one that
// somebody does.
func (s *issuers) like(issuer string) bool {
	plain := plainIssuer(issuer)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alike[plain] > 0
}

// plainIssuer leaves out of an issuer what people get wrong: the scheme, the case, the
// port that the scheme implies, slashes and blanks too many. Issuers are compared byte by
// byte (RFC 8414, section 2, and OpenID Connect Core, section 2); this only tells a
// mistake from a stranger.
func plainIssuer(issuer string) string {
	s := strings.ToLower(strings.TrimSpace(issuer))
	port := ":443"
	if rest, ok := strings.CutPrefix(s, "https://"); ok {
		s = rest
	} else if rest, ok := strings.CutPrefix(s, "http://"); ok {
		s, port = rest, ":80"
	}
	host, path, _ := strings.Cut(s, "/")
	host = strings.TrimSuffix(strings.TrimSuffix(host, port), ".")
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	return strings.Join(append([]string{host}, parts...), "/")
}
