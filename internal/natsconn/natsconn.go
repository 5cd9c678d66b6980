// Package natsconn judges connections to NATS that others have made: whether one can end
// by itself, and leave what hangs on it blind for ever.
package natsconn

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// LongestPing is the longest interval between pings with which a dead server is noticed
// in time.
const LongestPing = 5 * time.Second

// Check refuses a connection that there is not or that was closed
// ([nats.ErrConnectionClosed]), and one whose options let the client library close it for
// good, naming each: a finite number of reconnects, none at all, or two equal
// authentication errors in a row, as a password that is wrong for a few seconds brings.
func Check(nc *nats.Conn) error {
	switch {
	case nc == nil:
		return errors.New("nil connection")
	case nc.IsClosed():
		return nats.ErrConnectionClosed
	}
	o := nc.Opts
	var list []string
	switch {
	case !o.AllowReconnect:
		list = append(list, "it never reconnects; leave out nats.NoReconnect()")
	case o.MaxReconnect >= 0:
		list = append(list, fmt.Sprintf("it gives up after %d reconnects; set nats.MaxReconnects(-1)", o.MaxReconnect))
	}
	if !o.IgnoreAuthErrorAbort {
		list = append(list, "two equal authentication errors close it for good; set nats.IgnoreAuthErrorAbort()")
	}
	if len(list) > 0 {
		return fmt.Errorf("the connection can end by itself: %s", strings.Join(list, "; "))
	}
	return nil
}

// SlowPing reports whether a dead server would be noticed late, or never.
func SlowPing(nc *nats.Conn) (interval time.Duration, slow bool) {
	p := nc.Opts.PingInterval
	return p, p > LongestPing || p <= 0
}
