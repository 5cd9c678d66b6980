package follow

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"
)

// slowly reads a reply subject as the client library does.
func slowly(reply, stream, consumer string) (position, error) {
	return new(positions).of(&nats.Msg{Sub: &nats.Subscription{}, Reply: reply}, stream, consumer)
}

// FuzzPosition: however a reply subject looks, to read its numbers where they stand gives what
// the client library gives, or nothing.
func FuzzPosition(f *testing.F) {
	const older, newer = "$JS.ACK.S.c.1.7.5.1764477164000000000.3", "$JS.ACK._.hash.S.c.1.7.5.1764477164000000000.3.random"
	for _, seeds := range [][2]string{
		{older, older}, {newer, newer}, {older, newer}, {newer, older},
		{older, "$JS.ACK.S.c.1.8.6.1764477164000000001.0"},
		{older, "$JS.ACK.S.c.1.8.6.1764477164000000001"},
		{older, "$JS.ACK.S.c.1.8.6.1764477164000000001.0."},
		{older, "$JS.ACK.S.c.1.8.6.1764477164000000001.0.more"},
		{older, "$JS.ACK.S.c.1.8..1764477164000000001.0"},
		{older, "$JS.ACK.S.c.1.-8.6.1.0"},
		{older, "$JS.ACK.S.c.1.18446744073709551616.6.1.0"},
		{older, "$JS.ACK.S.c.9999999999999999999.9999999999999999999.9999999999999999999.9999999999999999999.9999999999999999999"},
		{older, "$JS.ACK.S.other.1.8.6.1.0"},
		{older, "$JS.ACK.S.c.S.c.1.8.6.1.0.r"}, // of a consumer c of S in the domain S, whose account has the hash c
		{newer, "$JS.ACK._.hash.S.c.1.8.6.1764477164000000001.0"},
		{newer, "$JS.ACK._.hash.S.c.1.8.6.1764477164000000001.0.random.and.more"},
		{newer, "$JS.ACK._.hash.S.c.1.8.6.1764477164000000001.0random"},
		{newer, "$JS.ACK._.other.S.c.1.8.6.1764477164000000001.0.random"},
		{"$JS.ACK.S.c.x.8.6.1764477164000000001.0", "$JS.ACK.S.c.y.9.7.1764477164000000001.0"},
	} {
		f.Add(seeds[0], seeds[1])
	}
	f.Fuzz(func(t *testing.T, first, reply string) {
		var p positions
		if _, err := p.of(&nats.Msg{Sub: &nats.Subscription{}, Reply: first}, "S", "c"); err != nil {
			return
		}
		want, err := slowly(reply, "S", "c")
		if got, ok := p.quick(reply); ok && (err != nil || !reflect.DeepEqual(got, want)) {
			t.Errorf("after %q, %q is read as %+v; the client library reads %+v, %v", first, reply, got, want, err)
		}
		got, err2 := p.of(&nats.Msg{Sub: &nats.Subscription{}, Reply: reply}, "S", "c")
		if (err2 == nil) != (err == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("after %q, %q is %+v, %v; want %+v, %v", first, reply, got, err2, want, err)
		}
	})
}

// The reply subjects that servers send are read where they stand, all but the first.
func TestPositionsAreReadWhereTheyStand(t *testing.T) {
	for _, form := range []string{"$JS.ACK.S.c.1.%d.%d.176447716400000%04d.%d", "$JS.ACK._.Aw3r.S.c.1.%d.%d.176447716400000%04d.%d.x7Yk", "$JS.ACK.hub.Aw3r.S.c.1.%d.%d.176447716400000%04d.%d"} {
		var p positions
		for i := 1; i < 2000; i++ {
			reply := fmt.Sprintf(form, i, i, i, 2000-i)
			if got, ok := p.quick(reply); ok != (i > 1) || ok && (got.sequence != uint64(i) || got.delivery != uint64(i) || got.pending != uint64(2000-i)) {
				t.Fatalf("%s is read as %+v, %v", reply, got, ok)
			}
			if _, err := p.of(&nats.Msg{Sub: &nats.Subscription{}, Reply: reply}, "S", "c"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
