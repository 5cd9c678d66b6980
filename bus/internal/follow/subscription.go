package follow

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// Two requests for messages are kept in the air, so that one is there while the
// other is renewed. What they ask for stands before all else that the server has to
// say, such as that it is alive, so it must fit through a slow line within seconds.
// Their bytes bound what a flood of large messages can cost.
const (
	pullMessages = 500
	leastPull    = 125 // where the server or the line is slow
	pullBytes    = 16 << 20
	pullExpiry   = 30 // times the idle interval
)

const (
	createTimeout = 5 * time.Second
	// abandonedAfter is how long the server keeps a consumer that nobody could delete.
	abandonedAfter = time.Minute
)

// A subscription is one consumer's life: created, read in order, deleted, never
// resumed.
//
// It speaks the pull protocol itself. The client library's iterators ask again by
// themselves after a reconnect or a silence, which is just what has to end a
// subscription here; they also take a message of the log for a word of the
// server's if its publisher gave it the right headers.
type subscription struct {
	t        *transport.Transport
	link     *transport.Link
	gen      uint64
	epoch    uint64 // reconnects before it began; it lives on one connection
	consumer string
	idle     time.Duration // how often the server says that it is there
	inbox    string
	sub      *nats.Subscription
	msgs     chan *nats.Msg
	created  bool // the server has said so
	behind   bool // more was in the log when it delivered the last message
	batch    int  // messages asked for at a time

	// wantMessages and wantBytes have been asked for and not come yet. The server may
	// hold less, never more.
	wantMessages, wantBytes int

	positions positions
	lives     wire.Lives
}

// subscribe creates the consumer where at says and asks for messages. Unless it is
// nil, the subscription is to be closed, also after an error.
func subscribe(ctx context.Context, t *transport.Transport, at replica.Subscription, idle time.Duration, epoch uint64, batch int) (*subscription, error) {
	l := t.Conn.Link.Load()
	s := &subscription{
		t: t, link: l, gen: at.Generation, idle: idle, epoch: epoch, batch: batch,
		consumer: "hybridtoken-" + rand.Text(), // two consumers of one name would halve the log between them
		inbox:    l.Conn.NewInbox(),
		msgs:     make(chan *nats.Msg, 2*batch+64),
	}
	var err error
	if s.sub, err = l.Conn.ChanSubscribe(s.inbox, s.msgs); err != nil {
		return nil, fmt.Errorf("bus: subscribe: %w", t.Conn.StreamError(err))
	}
	cfg := jetstream.ConsumerConfig{
		Name:              s.consumer,
		DeliverPolicy:     jetstream.DeliverAllPolicy,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: abandonedAfter,
		Replicas:          1,
		MemoryStorage:     true,
	}
	if at.Start > 1 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, at.Start
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if _, err = l.JetStream.CreateConsumer(ctx, t.StreamName, cfg); err != nil {
		return s, fmt.Errorf("bus: create consumer: %w", t.Conn.StreamError(err))
	}
	s.created = true
	return s, s.pull()
}

func (s *subscription) api(verb string) string {
	return jetstream.DefaultAPIPrefix + "CONSUMER." + verb + "." + s.t.StreamName + "." + s.consumer
}

// pull asks for more while there is room.
func (s *subscription) pull() error {
	for s.wantMessages <= s.batch && s.wantBytes <= pullBytes {
		request := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
			s.batch, pullBytes, (pullExpiry * s.idle).Nanoseconds(), s.idle.Nanoseconds())
		if err := s.link.Conn.PublishRequest(s.api("MSG.NEXT"), s.inbox, []byte(request)); err != nil {
			return fmt.Errorf("bus: ask for messages: %w", s.t.Conn.StreamError(err))
		}
		s.wantMessages += s.batch
		s.wantBytes += pullBytes
	}
	return nil
}

// isRecord tells a message of the log from a word of the server's, whatever
// headers its publisher gave it.
func isRecord(m *nats.Msg) bool { return strings.HasPrefix(m.Reply, "$JS.ACK.") }

// record returns the position of a message of the log and asks for more if need be.
func (s *subscription) record(m *nats.Msg) (replica.Record, error) {
	at, err := s.positions.of(m, s.t.StreamName, s.consumer)
	if err != nil {
		return replica.Record{}, err
	}
	s.behind = at.pending > 0
	s.wantMessages--
	s.wantBytes -= m.Size()
	return replica.Record{
		Generation: s.gen,
		Delivery:   at.delivery,
		Sequence:   at.sequence,
		Time:       at.at,
		Life:       s.lives.Of(m),
		Subject:    m.Subject,
		Data:       m.Data,
	}, s.pull()
}

// isIdle reports whether the server says that there is nothing to deliver.
func isIdle(m *nats.Msg) bool { return m.Header.Get("Status") == "100" }

var errEnded = errors.New("the server ended the subscription")

// status takes a word of the server's. An error means that the subscription is over.
func (s *subscription) status(m *nats.Msg) error {
	code, text := m.Header.Get("Status"), m.Header.Get("Description")
	switch code {
	case "", "100": // nothing the server says; idle
		return nil
	case "408", "409": // a request has ended, perhaps because of its size, and the rest of it will not come
		messages, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		if code == "409" && messages >= s.batch {
			break // it delivered nothing, and the next would neither: not again without a pause
		}
		if text == "Server Shutdown" {
			return fmt.Errorf("%w: the server shuts down", transport.ErrDisconnected)
		}
		if err == nil {
			bytes, _ := strconv.Atoi(m.Header.Get("Nats-Pending-Bytes"))
			s.wantMessages = max(s.wantMessages-max(messages, 0), 0)
			s.wantBytes = max(s.wantBytes-max(bytes, 0), 0)
			return s.pull()
		}
	}
	return fmt.Errorf("bus: %w: %s %q", errEnded, code, text)
}

// close ends the subscription and has the server forget its consumer, without
// waiting for an answer. It reports whether the server must have heard of it; if
// not, the consumer may live on for a while.
func (s *subscription) close() (heard bool) {
	_ = s.sub.Unsubscribe() // fails only if it is over already
	return s.forget() && s.created
}

// forget asks the server to delete the consumer.
func (s *subscription) forget() bool {
	return s.t.Conn.IsConnected() && s.t.Conn.Epoch() == s.epoch && s.link.Conn.IsConnected() && s.link.Conn.Publish(s.api("DELETE"), nil) == nil
}

// maxLeft bounds the consumers that a follower remembers to have left behind; the
// server removes the others by itself.
const maxLeft = 16

// leave closes s and remembers its consumer if the server may not know that it is
// over: one that was cut off, or whose creation nobody has confirmed.
func (f *Follower) leave(s *subscription) {
	if s == nil || s.close() {
		return
	}
	if len(f.left) == maxLeft {
		f.left = slices.Delete(f.left, 0, 1)
	}
	f.left = append(f.left, s.consumer)
}

// tidy asks the server, which answers again, to delete the consumers left behind. It
// has read that when anything of the subscription made after it arrives.
func (f *Follower) tidy() {
	for _, name := range f.left {
		_ = f.t.NATS().Publish(jetstream.DefaultAPIPrefix+"CONSUMER.DELETE."+f.t.StreamName+"."+name, nil)
	}
}
