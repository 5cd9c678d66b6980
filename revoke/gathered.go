package revoke

import "strings"

// A gathered holds events that the feed has taken and not applied yet: what they revoke is
// worked out beside the List's lock, which many of them then share. It belongs to the feed's
// goroutine.
type gathered struct {
	entries []entry
	issuer  gatheredIssuer // of the event taken last
}

// A gatheredIssuer is what every event of one issuer would work out anew. Most come from
// the same as the one before.
type gatheredIssuer struct {
	hasher     *hasher // nil: there was no event yet
	issuer     string
	credential bool // it has the form of one
	made       [kinds]bool
	kind       [kinds]hasher
}

// of returns what is known of an issuer, for the next event alone.
func (g *gathered) of(h *hasher, issuer string) *gatheredIssuer {
	if i := &g.issuer; i.hasher == nil || i.issuer != issuer {
		*i = gatheredIssuer{hasher: h, issuer: strings.Clone(issuer), credential: credentialIn(issuer) != ""}
	}
	return &g.issuer
}

// digest is [hasher.digest] of a value of that issuer.
func (i *gatheredIssuer) digest(k Kind, value string) digest {
	if !i.made[k] {
		i.kind[k], i.made[k] = i.hasher.scope(k, i.issuer), true
	}
	return i.kind[k].of(value)
}
