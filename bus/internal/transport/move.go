package transport

import (
	"errors"
	"net/netip"
	"net/url"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

var (
	errIsShared = errors.New("the connection is shared and stays where it is")
	errIsAlone  = errors.New("no other server is known")
)

// Move forces the connection to another server, unless another follower over it did
// so within the last gap. The error says why it must stay.
func (c *Connection) Move(now revoke.Instant, gap time.Duration) error {
	switch {
	case c.shared:
		return errIsShared
	case c.Link.Load() == nil, alone(c.NATS().Servers()):
		return errIsAlone
	}
	if last := c.movedAt.Load(); last != 0 && now.Mono-last < int64(gap) || !c.movedAt.CompareAndSwap(last, now.Mono) {
		return nil
	}
	return c.NATS().ForceReconnect()
}

// alone reports whether all addresses are one server's. A name may stand for several.
func alone(servers []string) bool {
	for _, s := range servers {
		u, err := url.Parse(s)
		if err != nil || s != servers[0] {
			return false
		}
		if _, err := netip.ParseAddr(u.Hostname()); err != nil {
			return false
		}
	}
	return true
}
