package benchmarks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// BenchmarkWatch compares what an event costs while 1,000 tokens in use are watched and
// while 100,000 are: one that names a session which nobody watches, and one that ends one
// token, from Apply until it is told. The token is then replaced by another. The bound is
// a ratio of 1.5.
func BenchmarkWatch(b *testing.B) {
	few, many := newCrowd(1_000), newCrowd(100_000)
	for _, x := range []struct {
		name string
		work func(*crowd)
	}{{"nobody", (*crowd).nobody}, {"one", (*crowd).one}} {
		b.Run(x.name, func(b *testing.B) {
			rounds(b, 1<<10,
				contender{Name: "1000", Work: func(int) { x.work(few) }},
				contender{Name: "100000", Work: func(int) { x.work(many) }},
			)
		})
	}
}

// A crowd is watched by a List.
type crowd struct {
	list  *revoke.List
	next  int // to be ended
	asked int // of sessions that nobody watches
	size  int
	told  chan struct{}
	until time.Time
}

func newCrowd(size int) *crowd {
	c := &crowd{list: load.FreshList(), size: size, told: make(chan struct{}, 1), until: time.Now().Add(time.Hour)}
	c.list.ExpectIssuer(load.Issuer)
	for i := range size {
		c.watch(i)
	}
	return c
}

func (c *crowd) watch(i int) {
	id := revoke.Identity{
		Issuer: load.Issuer, Token: fmt.Sprint("jti-", i), Session: fmt.Sprint("session-", i), Subject: fmt.Sprint("user-", i/4),
		Client: "web", Tenant: fmt.Sprint("tenant-", i%100), Key: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", IssuedAt: time.Now(),
	}
	p := replica.Prepare(c.list, &id)
	load.Must(p.Watch(revoke.Now(), func(error) { c.told <- struct{}{} }))
}

func (c *crowd) apply(session string) {
	if err := c.list.Apply(revoke.Now(), revoke.Event{Issuer: load.Issuer, Kind: revoke.KindSession, Value: session, Until: c.until}); err != nil {
		panic(err)
	}
}

func (c *crowd) nobody() {
	c.asked++
	c.apply(fmt.Sprint("nobody-", c.asked))
}

func (c *crowd) one() {
	c.watch(c.next + c.size)
	c.apply(fmt.Sprint("session-", c.next))
	<-c.told
	c.next++
}
