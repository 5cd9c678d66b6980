package scripted

import (
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
)

// A Server is a server that answers as a test says, over pipes, so that it goes by a
// test's fake clock, in which hours pass at once. It checks the password, holds one
// stream, delivers that to consumers, and ends connections for good on command. Its zero
// value has no stream; [New] gives it one. Fields are set and read in [Server.Do].
type Server struct {
	t testing.TB

	mu       sync.Mutex
	Info     jetstream.StreamInfo                       // what it tells of the stream
	Log      []logged                                   // what the stream holds
	Events   int                                        // published, heartbeats not counted
	Beats    []time.Time                                // heartbeats that came
	Signed   int                                        // of those
	Beat     string                                     // what is said to a heartbeat that asks; "503": nobody listens
	Probe    *nats.Msg                                  // the heartbeat that asked last
	Carries  bool                                       // heartbeats are stored and acknowledged, as others are
	Take     func(n int, m *nats.Msg) (answer string)   // n counts events from 1; empty: no answer
	TakeAll  func(batch []*nats.Msg) (answer string)    // of an atomic batch that was committed; nil: all are stored
	API      func(m *nats.Msg) (answer string, ok bool) // answers in place of what it would say; not ok: it says that
	Asked    int                                        // for the stream's state
	Deny     string                                     // what subjects begin with on which nothing may be published
	ID       string                                     // of all servers; empty: each has its own
	Isolated string                                     // address of a server that is cut off: it brings no messages, and says that it is there
	DenySub  string                                     // a subject that nobody may listen to
	Others   []*nats.Msg                                // what was published to neither the stream nor the API
	Mute     bool                                       // consumers are told nothing: no messages, not that it is alive
	Delay    time.Duration                              // before each answer
	Password string
	Ending   bool   // every connection is ended as soon as it stands
	Poison   string // a message that holds it ends the connection; empty: none
	Ends     int    // connections that were ended for good
	Attempts []time.Time
	Refuses  bool // connections
	maxBytes int  // of a message that it takes; zero: 1 MiB
	Conns    []*Conn
	asks     map[string]int         // requests to the API, by verb
	staged   map[string][]*nats.Msg // of batches that are not committed
}

// A logged is one message of the stream.
type logged struct {
	seq  uint64
	Time time.Time
	Msg  *nats.Msg
}

// Stored is an answer for Take to give: the message is stored there.
func Stored(seq int) string { return fmt.Sprintf(`{"stream":%q,"seq":%d}`, stream.DefaultName, seq) }

// Refusal is an answer for Take and API to give: an error with that code.
func Refusal(code jetstream.ErrorCode, text string) string {
	return fmt.Sprintf(`{"error":{"code":503,"err_code":%d,"description":%q}}`, code, text)
}

// emptyPools has the runtime let go of what sync.Pools hold. The client library pools its
// timers for the whole process, and one of another synctest bubble is fatal in this.
func emptyPools() {
	runtime.GC() // to the victims
	runtime.GC()
}

// New returns a server with a stream that is as it should be.
func New(t testing.TB) *Server {
	t.Helper()
	emptyPools()
	s := &Server{t: t}
	want, err := stream.Settings{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	s.Info.Config, s.Info.Created, s.Info.State.FirstSeq = want, time.Now(), 1
	return s
}

// Dial implements [nats.CustomDialer].
func (s *Server) Dial(_, address string) (net.Conn, error) {
	client, server := net.Pipe()
	c := &Conn{s: s, address: address, conn: server, out: make(chan string, 1000), over: make(chan struct{}), subs: map[string]string{}, Consumers: map[string]*Consumer{}}
	refused := false
	s.Do(func() {
		s.Attempts = append(s.Attempts, time.Now())
		if refused = s.Refuses; !refused {
			s.Conns = append(s.Conns, c)
		}
	})
	if refused {
		return nil, syscall.ECONNREFUSED
	}
	go c.serve()
	return client, nil
}

// Do calls f while nothing happens at the server.
func (s *Server) Do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Cut breaks all connections, as a network does.
func (s *Server) Cut() {
	s.Do(func() {
		for _, c := range s.Conns {
			c.conn.Close()
		}
	})
}

// Has reports whether the stream holds a message with that text.
func (s *Server) Has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.Log, func(l logged) bool { return strings.Contains(string(l.Msg.Data), text) })
}

// Store appends m to the stream and delivers it. It is to be called in [Server.Do].
func (s *Server) Store(m *nats.Msg) (seq uint64) {
	s.Info.State.LastSeq++
	s.Log = append(s.Log, logged{s.Info.State.LastSeq, time.Now(), m})
	s.deliver()
	return s.Info.State.LastSeq
}

// deliver gives all consumers what they have asked for. The caller holds mu.
func (s *Server) deliver() {
	for _, c := range s.Conns {
		for _, k := range c.Consumers {
			k.deliver()
		}
	}
}

// answer returns what is said to a message; an error ends the connection. The caller
// holds mu.
func (s *Server) answer(c *Conn, m *nats.Msg) string {
	if s.Poison != "" && strings.Contains(string(m.Data), s.Poison) {
		s.Ends++
		return "-ERR 'Maximum Payload Violation'"
	}
	if f := strings.Split(m.Subject, "."); f[0] == "$JS" && len(f) > 3 {
		if s.asks == nil {
			s.asks = map[string]int{}
		}
		s.asks[f[2]+"."+f[3]]++
	}
	if s.Deny != "" && strings.HasPrefix(m.Subject, s.Deny) {
		c.send(fmt.Sprintf("-ERR 'Permissions Violation for Publish to %q'\r\n", m.Subject))
		return ""
	}
	if request, ok := strings.CutPrefix(m.Subject, jetstream.DefaultAPIPrefix); ok {
		f := strings.Split(request, ".")
		if s.API != nil {
			if answer, ok := s.API(m); ok {
				return answer
			}
		}
		return s.answerAPI(c, m, f)
	}
	switch {
	case m.Subject == wire.HeartbeatSubject:
		s.Beats = append(s.Beats, time.Now())
		if m.Header.Get(wire.SignatureHeader) != "" {
			s.Signed++
		}
		if s.Carries {
			return Stored(int(s.Store(m)))
		}
		if m.Reply != "" {
			if s.Probe = m; s.Beat == "503" {
				c.tell(m.Reply, &nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
				return ""
			}
			return s.Beat
		}
	case strings.HasPrefix(m.Subject, "revocations.v1.") && m.Header.Get("Nats-Batch-Id") != "":
		return s.stage(m)
	case strings.HasPrefix(m.Subject, "revocations.v1."):
		s.Events++
		if s.Take != nil {
			return s.Take(s.Events, m)
		}
		return Stored(int(s.Store(m)))
	default:
		s.Others = append(s.Others, m)
		heard := 0
		for _, c := range s.Conns {
			heard += c.tell(m.Subject, m)
		}
		if heard == 0 && m.Reply != "" {
			c.tell(m.Reply, &nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
		}
	}
	return ""
}

func (s *Server) answerAPI(c *Conn, m *nats.Msg, f []string) string {
	typed := func(name string, v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			s.t.Error(err)
		}
		return fmt.Sprintf(`{"type":"io.nats.jetstream.api.v1.%s",%s`, name, b[1:])
	}
	switch strings.Join(f[:min(len(f), 2)], ".") {
	case "STREAM.INFO":
		s.Asked++
		s.Info.TimeStamp = time.Now()
		return typed("stream_info_response", &s.Info)
	case "STREAM.MSG":
		var q struct{ Seq uint64 }
		_ = json.Unmarshal(m.Data, &q)
		for _, l := range s.Log {
			if l.seq == q.Seq {
				return typed("stream_msg_get_response", map[string]any{"message": map[string]any{"subject": l.Msg.Subject, "seq": l.seq, "data": l.Msg.Data, "time": l.Time}})
			}
		}
		return `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`
	case "CONSUMER.CREATE":
		var q struct{ Config jetstream.ConsumerConfig }
		if err := json.Unmarshal(m.Data, &q); err != nil {
			s.t.Error(err)
		}
		k := &Consumer{c: c, name: q.Config.Name, next: max(q.Config.OptStartSeq, 1), over: make(chan struct{})}
		c.Consumers[k.name] = k
		return typed("consumer_create_response", jetstream.ConsumerInfo{Stream: stream.DefaultName, Name: k.name, Config: q.Config})
	case "CONSUMER.MSG": // NEXT
		k := c.Consumers[f[len(f)-1]]
		if k == nil {
			return ""
		}
		var q struct {
			Batch   int           `json:"batch"`
			Bytes   int           `json:"max_bytes"`
			Expires time.Duration `json:"expires"`
			Idle    time.Duration `json:"idle_heartbeat"`
		}
		if err := json.Unmarshal(m.Data, &q); err != nil {
			s.t.Error(err)
		}
		k.inbox, k.Requests = m.Reply, append(k.Requests, scriptedPull{q.Batch, q.Bytes, time.Now().Add(q.Expires)})
		if !k.ticking {
			k.ticking = true
			go k.tick(q.Idle)
		}
		k.deliver()
	case "CONSUMER.DELETE":
		for _, other := range s.Conns {
			if k := other.Consumers[f[len(f)-1]]; k != nil {
				delete(other.Consumers, k.name)
				close(k.over)
			}
		}
	}
	return ""
}

// Count returns how often the API was asked that.
func (s *Server) Count(verb string) (n int) {
	s.Do(func() { n = s.asks[verb] })
	return n
}
