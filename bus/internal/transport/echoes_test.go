package transport

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
)

// What one member sends over a connection with NoEcho is heard by those who listen there
// on that connection and under that prefix, until they stop; over others the server
// delivers it, and nothing is handed on.
func TestEchoes(t *testing.T) {
	deaf, other, normal := &nats.Conn{Opts: nats.Options{NoEcho: true}}, &nats.Conn{Opts: nats.Options{NoEcho: true}}, &nats.Conn{}
	var heard []string
	listen := func(name string, nc *nats.Conn, prefix string) func() {
		return ListenForEchoes(nc, prefix, func(m *nats.Msg) { heard = append(heard, name+" "+m.Subject) })
	}
	stopA, stopB := listen("a", deaf, "x."), listen("b", deaf, "x.y")
	listen("c", other, "x.")()
	stopD, stopE := listen("d", normal, "x."), listen("e", other, "x.")
	hears := func(nc *nats.Conn, subject string, want ...string) {
		t.Helper()
		heard = nil
		Echo(nc, &nats.Msg{Subject: subject})
		if !slices.Equal(heard, want) {
			t.Errorf("%q, want %q", heard, want)
		}
	}
	hears(deaf, "x.y.z", "a x.y.z", "b x.y.z")
	hears(deaf, "x.z", "a x.z")
	hears(deaf, "y")
	hears(normal, "x.y")
	hears(other, "x.1", "e x.1")
	stopA()
	stopA()
	hears(deaf, "x.y.z", "b x.y.z")
	stopB()
	stopD()
	stopE()
	hears(deaf, "x.y.z")
	if len(echoes.ears) != 0 {
		t.Errorf("%d still listen", len(echoes.ears))
	}
}
