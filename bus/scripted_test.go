package bus

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strconv"
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

// A scripted is a server that answers as a test says, over pipes, so that it goes by a
// test's fake clock, in which hours pass at once. It checks the password, holds one
// stream, delivers that to consumers, and ends connections for good on command. Its zero
// value has no stream; newScripted gives it one.
type scripted struct {
	t testing.TB

	mu       sync.Mutex
	info     jetstream.StreamInfo                       // what it tells of the stream
	log      []logged                                   // what the stream holds
	events   int                                        // published, heartbeats not counted
	beats    []time.Time                                // heartbeats that came
	signed   int                                        // of those
	beat     string                                     // what is said to a heartbeat that asks; "503": nobody listens
	probe    *nats.Msg                                  // the heartbeat that asked last
	carries  bool                                       // heartbeats are stored and acknowledged, as others are
	take     func(n int, m *nats.Msg) (answer string)   // n counts events from 1; empty: no answer
	api      func(m *nats.Msg) (answer string, ok bool) // answers in place of what it would say; not ok: it says that
	asked    int                                        // for the stream's state
	deny     string                                     // what subjects begin with on which nothing may be published
	id       string                                     // of all servers; empty: each has its own
	isolated string                                     // address of a server that is cut off: it brings no messages, and says that it is there
	denySub  string                                     // a subject that nobody may listen to
	others   []*nats.Msg                                // what was published to neither the stream nor the API
	mute     bool                                       // consumers are told nothing: no messages, not that it is alive
	delay    time.Duration                              // before each answer
	password string
	ending   bool   // every connection is ended as soon as it stands
	poison   string // a message that holds it ends the connection; empty: none
	ends     int    // connections that were ended for good
	attempts []time.Time
	refuses  bool // connections
	maxBytes int  // of a message that it takes; zero: 1 MiB
	conns    []*scriptedConn
	asks     map[string]int // requests to the API, by verb
}

// A logged is one message of the stream.
type logged struct {
	seq  uint64
	time time.Time
	msg  *nats.Msg
}

// answers that take may give
func stored(seq int) string { return fmt.Sprintf(`{"stream":%q,"seq":%d}`, DefaultStream, seq) }

func refusal(code jetstream.ErrorCode, text string) string {
	return fmt.Sprintf(`{"error":{"code":503,"err_code":%d,"description":%q}}`, code, text)
}

// emptyPools has the runtime let go of what sync.Pools hold. The client library pools its
// timers for the whole process, and one of another synctest bubble is fatal in this.
func emptyPools() {
	runtime.GC() // to the victims
	runtime.GC()
}

// newStream returns a server with a stream that is as it should be.
func newStream(t testing.TB) *scripted {
	t.Helper()
	emptyPools()
	s := &scripted{t: t}
	want, err := stream.Settings{}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	s.info.Config, s.info.Created, s.info.State.FirstSeq = want, time.Now(), 1
	return s
}

func openCore(t testing.TB, conn *connection, cfg Config) (*core, error) {
	t.Helper()
	b, err := newCore(cfg)
	if err != nil {
		return nil, err
	}
	return b, b.open(t.Context(), conn)
}

// newScripted returns such a server and a Member that is connected to it.
func newScripted(t *testing.T, cfg Config) (*scripted, *core) {
	t.Helper()
	s := newStream(t)
	conn, err := dialServers(t.Context(), Config{Servers: "nats://127.0.0.1:4222", Options: []nats.Option{nats.SetCustomDialer(s)}, Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.close() })
	if len(cfg.Issuers) == 0 {
		cfg.Issuers = []string{testIssuer}
	}
	b, err := openCore(t, conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.close() })
	return s, b
}

// Dial implements [nats.CustomDialer].
func (s *scripted) Dial(_, address string) (net.Conn, error) {
	client, server := net.Pipe()
	c := &scriptedConn{s: s, address: address, conn: server, out: make(chan string, 1000), over: make(chan struct{}), subs: map[string]string{}, consumers: map[string]*scriptedConsumer{}}
	refused := false
	s.do(func() {
		s.attempts = append(s.attempts, time.Now())
		if refused = s.refuses; !refused {
			s.conns = append(s.conns, c)
		}
	})
	if refused {
		return nil, syscall.ECONNREFUSED
	}
	go c.serve()
	return client, nil
}

func (s *scripted) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// cut breaks all connections, as a network does.
func (s *scripted) cut() {
	s.do(func() {
		for _, c := range s.conns {
			c.conn.Close()
		}
	})
}

// has reports whether the stream holds a message with that text.
func (s *scripted) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.log, func(l logged) bool { return strings.Contains(string(l.msg.Data), text) })
}

// store appends m to the stream and delivers it. The caller holds mu.
func (s *scripted) store(m *nats.Msg) (seq uint64) {
	s.info.State.LastSeq++
	s.log = append(s.log, logged{s.info.State.LastSeq, time.Now(), m})
	s.deliver()
	return s.info.State.LastSeq
}

// deliver gives all consumers what they have asked for. The caller holds mu.
func (s *scripted) deliver() {
	for _, c := range s.conns {
		for _, k := range c.consumers {
			k.deliver()
		}
	}
}

// answer returns what is said to a message; an error ends the connection. The caller
// holds mu.
func (s *scripted) answer(c *scriptedConn, m *nats.Msg) string {
	if s.poison != "" && strings.Contains(string(m.Data), s.poison) {
		s.ends++
		return "-ERR 'Maximum Payload Violation'"
	}
	if f := strings.Split(m.Subject, "."); f[0] == "$JS" && len(f) > 3 {
		if s.asks == nil {
			s.asks = map[string]int{}
		}
		s.asks[f[2]+"."+f[3]]++
	}
	if s.deny != "" && strings.HasPrefix(m.Subject, s.deny) {
		c.send(fmt.Sprintf("-ERR 'Permissions Violation for Publish to %q'\r\n", m.Subject))
		return ""
	}
	if request, ok := strings.CutPrefix(m.Subject, jetstream.DefaultAPIPrefix); ok {
		f := strings.Split(request, ".")
		if s.api != nil {
			if answer, ok := s.api(m); ok {
				return answer
			}
		}
		return s.answerAPI(c, m, f)
	}
	switch {
	case m.Subject == wire.HeartbeatSubject:
		s.beats = append(s.beats, time.Now())
		if m.Header.Get(wire.SignatureHeader) != "" {
			s.signed++
		}
		if s.carries {
			return stored(int(s.store(m)))
		}
		if m.Reply != "" {
			if s.probe = m; s.beat == "503" {
				c.tell(m.Reply, &nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
				return ""
			}
			return s.beat
		}
	case strings.HasPrefix(m.Subject, "revocations.v1."):
		s.events++
		if s.take != nil {
			return s.take(s.events, m)
		}
		return stored(int(s.store(m)))
	default:
		s.others = append(s.others, m)
		heard := 0
		for _, c := range s.conns {
			heard += c.tell(m.Subject, m)
		}
		if heard == 0 && m.Reply != "" {
			c.tell(m.Reply, &nats.Msg{Subject: m.Reply, Header: nats.Header{"Status": {"503"}}})
		}
	}
	return ""
}

func (s *scripted) answerAPI(c *scriptedConn, m *nats.Msg, f []string) string {
	typed := func(name string, v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			s.t.Error(err)
		}
		return fmt.Sprintf(`{"type":"io.nats.jetstream.api.v1.%s",%s`, name, b[1:])
	}
	switch strings.Join(f[:min(len(f), 2)], ".") {
	case "STREAM.INFO":
		s.asked++
		s.info.TimeStamp = time.Now()
		return typed("stream_info_response", &s.info)
	case "STREAM.MSG":
		var q struct{ Seq uint64 }
		_ = json.Unmarshal(m.Data, &q)
		for _, l := range s.log {
			if l.seq == q.Seq {
				return typed("stream_msg_get_response", map[string]any{"message": map[string]any{"subject": l.msg.Subject, "seq": l.seq, "data": l.msg.Data, "time": l.time}})
			}
		}
		return `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`
	case "CONSUMER.CREATE":
		var q struct{ Config jetstream.ConsumerConfig }
		if err := json.Unmarshal(m.Data, &q); err != nil {
			s.t.Error(err)
		}
		k := &scriptedConsumer{c: c, name: q.Config.Name, next: max(q.Config.OptStartSeq, 1), over: make(chan struct{})}
		c.consumers[k.name] = k
		return typed("consumer_create_response", jetstream.ConsumerInfo{Stream: DefaultStream, Name: k.name, Config: q.Config})
	case "CONSUMER.MSG": // NEXT
		k := c.consumers[f[len(f)-1]]
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
		k.inbox, k.requests = m.Reply, append(k.requests, scriptedPull{q.Batch, q.Bytes, time.Now().Add(q.Expires)})
		if !k.ticking {
			k.ticking = true
			go k.tick(q.Idle)
		}
		k.deliver()
	case "CONSUMER.DELETE":
		for _, other := range s.conns {
			if k := other.consumers[f[len(f)-1]]; k != nil {
				delete(other.consumers, k.name)
				close(k.over)
			}
		}
	}
	return ""
}

// A scriptedConn is one connection to a scripted.
type scriptedConn struct {
	s       *scripted
	address string // of the server, one of a cluster
	conn    net.Conn
	out     chan string
	over    chan struct{} // closed when it has ended

	subs      map[string]string            // subject by sid
	consumers map[string]*scriptedConsumer // made over it
}

// send writes behind what is written already: a pipe holds nothing, and who reads must
// not wait until he is read.
func (c *scriptedConn) send(text string) {
	select {
	case c.out <- text:
	case <-c.over:
	}
}

func (c *scriptedConn) serve() {
	s := c.s
	defer func() {
		c.conn.Close()
		close(c.over)
		s.do(func() {
			s.conns = slices.DeleteFunc(s.conns, func(other *scriptedConn) bool { return other == c })
		})
	}()
	go func() {
		for {
			select {
			case text := <-c.out:
				_, err := io.WriteString(c.conn, text)
				if err != nil || strings.HasPrefix(text, "-ERR") && !strings.Contains(text, "Permissions") {
					c.conn.Close()
					return
				}
			case <-c.over:
				return
			}
		}
	}()
	s.do(func() { c.send(s.infoLine(c.address)) })
	password := ""
	r := bufio.NewReader(c.conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "CONNECT":
			var o struct{ Pass string }
			_ = json.Unmarshal([]byte(strings.TrimPrefix(line, "CONNECT")), &o)
			password = o.Pass
		case f[0] == "PING":
			s.do(func() {
				switch {
				case s.password != password:
					c.send("-ERR 'Authorization Violation'\r\n")
				case s.ending:
					s.ends++
					c.send("PONG\r\n")
					c.send("-ERR 'Nothing That Anybody Knows'\r\n")
				default:
					c.send("PONG\r\n")
				}
			})
		case f[0] == "SUB":
			s.do(func() {
				if s.denySub != "" && f[1] == s.denySub {
					c.send(fmt.Sprintf("-ERR 'Permissions Violation for Subscription to %q'\r\n", f[1]))
					return
				}
				c.subs[f[len(f)-1]] = f[1]
			})
		case f[0] == "UNSUB":
			s.do(func() { delete(c.subs, f[1]) })
		case f[0] == "PUB" || f[0] == "HPUB":
			size, _ := strconv.Atoi(f[len(f)-1])
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			head, reply := 0, ""
			args := f[2 : len(f)-1]
			if f[0] == "HPUB" {
				head, _ = strconv.Atoi(args[len(args)-1])
				args = args[:len(args)-1]
			}
			if len(args) > 0 {
				reply = args[0]
			}
			m := &nats.Msg{Subject: f[1], Reply: reply, Data: body[head:size]}
			if head > 0 {
				m.Header, _ = nats.DecodeHeadersMsg(body[:head])
			}
			s.do(func() {
				answer := s.answer(c, m)
				switch {
				case strings.HasPrefix(answer, "-ERR"): // before what came with it is answered
					time.AfterFunc(s.delay/5, func() { c.send(answer + "\r\n") })
				case answer == "" || reply == "":
				case s.delay > 0:
					time.AfterFunc(s.delay, func() { s.do(func() { c.tell(reply, &nats.Msg{Subject: reply, Data: []byte(answer)}) }) })
				default:
					c.tell(reply, &nats.Msg{Subject: reply, Data: []byte(answer)})
				}
			})
		}
	}
}

// infoLine returns what the server says of itself. The caller holds mu.
func (s *scripted) infoLine(address string) string {
	most, id := s.maxBytes, address
	if s.id != "" {
		id = s.id
	}
	if most == 0 {
		most = 1 << 20
	}
	return fmt.Sprintf(`INFO {"server_id":%q,"server_name":"s","version":"2.12.0","headers":true,"max_payload":%d,"proto":1,"jetstream":true}`+"\r\n", id, most)
}

// tell delivers m to who listens for that subject, which need not be its own. The caller
// holds the server's mu.
func (c *scriptedConn) tell(to string, m *nats.Msg) (heard int) {
	for sid, pattern := range c.subs {
		prefix, wild := strings.CutSuffix(pattern, "*")
		if pattern != to && !(wild && strings.HasPrefix(to, prefix)) {
			continue
		}
		heard++
		if m.Reply != "" {
			sid += " " + m.Reply
		}
		if m.Header == nil {
			c.send(fmt.Sprintf("MSG %s %s %d\r\n%s\r\n", m.Subject, sid, len(m.Data), m.Data))
			continue
		}
		head := "NATS/1.0"
		if code := m.Header.Get("Status"); code != "" {
			head += " " + code + " " + m.Header.Get("Description")
		}
		head += "\r\n"
		for name, values := range m.Header {
			for _, v := range values {
				if name != "Status" && name != "Description" {
					head += name + ": " + v + "\r\n"
				}
			}
		}
		head += "\r\n"
		c.send(fmt.Sprintf("HMSG %s %s %d %d\r\n%s%s\r\n", m.Subject, sid, len(head), len(head)+len(m.Data), head, m.Data))
	}
	return heard
}

// A scriptedConsumer delivers the stream to who asks for it, in order.
type scriptedConsumer struct {
	c         *scriptedConn
	name      string
	next      uint64 // sequence
	delivered uint64
	inbox     string
	requests  []scriptedPull
	ticking   bool
	over      chan struct{} // closed when it is deleted
}

type scriptedPull struct {
	left, bytes int
	end         time.Time
}

// deliver gives what was asked for. The caller holds the server's mu.
func (k *scriptedConsumer) deliver() {
	s := k.c.s
	if s.mute || s.isolated == k.c.address {
		return
	}
	for _, l := range s.log {
		if l.seq < k.next || len(k.requests) == 0 {
			continue
		}
		k.next, k.delivered = l.seq+1, k.delivered+1
		ack := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.%d", DefaultStream, k.name, l.seq, k.delivered, l.time.UnixNano(), s.info.State.LastSeq-l.seq)
		k.c.tell(k.inbox, &nats.Msg{Subject: l.msg.Subject, Reply: ack, Header: l.msg.Header, Data: l.msg.Data})
		q := &k.requests[0]
		if q.left, q.bytes = q.left-1, q.bytes-l.msg.Size()-len(ack); q.left == 0 {
			k.word("409", "Batch Completed")
		}
	}
}

// tick says every idle interval that the server is there, and ends requests in time.
func (k *scriptedConsumer) tick(idle time.Duration) {
	t := time.NewTicker(idle)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-k.over:
			return
		case <-k.c.over:
			return
		}
		k.c.s.do(func() {
			if k.c.s.mute {
				return
			}
			for len(k.requests) > 0 && !time.Now().Before(k.requests[0].end) {
				k.word("408", "Request Timeout")
			}
			k.word("100", "Idle Heartbeat")
			k.deliver()
		})
	}
}

// word says something else than a message: with 408 and 409 it ends a request, what is
// left of which it tells. The caller holds the server's mu.
func (k *scriptedConsumer) word(code, text string) {
	h := nats.Header{"Status": {code}, "Description": {text}}
	if code != "100" && len(k.requests) > 0 {
		h["Nats-Pending-Messages"], h["Nats-Pending-Bytes"] = []string{strconv.Itoa(k.requests[0].left)}, []string{strconv.Itoa(k.requests[0].bytes)}
		k.requests = k.requests[1:]
	}
	k.c.tell(k.inbox, &nats.Msg{Subject: k.inbox, Header: h})
}

// A pages is what on-call reads: lines at Warn and above.
type pages struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *pages) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *pages) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *pages) count(words string) int { return strings.Count(p.String(), words) }

func (p *pages) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// everything has lines at Info there too.
func (p *pages) everything() *slog.Logger { return slog.New(slog.NewTextHandler(p, nil)) }

func (p *pages) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Reset()
}
