package transport

import (
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Over a connection with [nats.NoEcho] a server delivers nothing to those who have sent
// it. What members of one process say to each other there (a question of a roll call,
// the answer, a farewell) is handed on here instead. What comes from the stream is
// JetStream's to send and needs none of it.
var echoes struct {
	mu   sync.Mutex
	ears []*ear // guarded by mu
}

// An ear hears what is sent over one connection to subjects with that prefix.
type ear struct {
	nc     *nats.Conn
	prefix string
	hear   func(*nats.Msg) // must not block
}

// ListenForEchoes has hear called with what echo is given for that connection, until the
// function returned is called. For a connection whose server delivers that it does nothing.
func ListenForEchoes(nc *nats.Conn, prefix string, hear func(*nats.Msg)) (stop func()) {
	if !nc.Opts.NoEcho {
		return func() {}
	}
	e := &ear{nc, prefix, hear}
	echoes.mu.Lock()
	defer echoes.mu.Unlock()
	echoes.ears = append(echoes.ears, e)
	return func() {
		echoes.mu.Lock()
		defer echoes.mu.Unlock()
		echoes.ears = slices.DeleteFunc(echoes.ears, func(other *ear) bool { return other == e })
	}
}

// Echo hands on what was published over the connection.
func Echo(nc *nats.Conn, m *nats.Msg) {
	if !nc.Opts.NoEcho {
		return
	}
	echoes.mu.Lock()
	var ears []*ear
	for _, e := range echoes.ears {
		if e.nc == nc && strings.HasPrefix(m.Subject, e.prefix) {
			ears = append(ears, e)
		}
	}
	echoes.mu.Unlock()
	for _, e := range ears {
		e.hear(m)
	}
}

// Hear has what is sent to the inbox come over that link until deaf is called.
func (l *Link) Hear(inbox string, msgs chan *nats.Msg) (deaf func(), err error) {
	sub, err := l.Conn.ChanSubscribe(inbox+".*", msgs)
	if err != nil {
		return nil, err
	}
	silence := ListenForEchoes(l.Conn, inbox+".", func(m *nats.Msg) {
		select {
		case msgs <- m:
		default: // more are lost
		}
	})
	return func() {
		silence()
		_ = sub.Unsubscribe() // fails only if it is over already
	}, nil
}
