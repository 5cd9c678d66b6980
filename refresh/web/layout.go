package web

import "fmt"

// A Layout says which cookie goes where.
type Layout int

const (
	// Passing: both cookies go with every request, under names that begin with
	// __Host-Http-, and the middleware refreshes in the same round trip. Browsers that do not
	// know that prefix see one that they do know, __Host-.
	Passing Layout = iota

	// Separate: the refresh token goes to the URLs of [Browser.Handler] alone, in a cookie
	// whose name begins with __Secure-. Fewer programs see it. But a sibling subdomain can plant
	// a second cookie of that name, after which the session cannot be refreshed: choose it where
	// you trust your siblings.
	Separate
)

// String returns "passing" or "separate".
func (l Layout) String() string {
	switch l {
	case Passing:
		return "passing"
	case Separate:
		return "separate"
	}
	return fmt.Sprintf("Layout(%d)", int(l))
}
