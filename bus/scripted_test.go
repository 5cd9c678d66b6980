package bus

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A scripted is a server that answers as a test says, over a pipe, so that it goes by a
// test's fake clock. It knows one stream, whose state it tells; what is published to the
// stream is given to take.
type scripted struct {
	t *testing.T

	mu     sync.Mutex
	info   jetstream.StreamInfo
	events int // published, heartbeats not counted
	beats  []time.Time
	signed int                                      // of those
	take   func(n int, m *nats.Msg) (answer string) // n counts from 1; empty: no answer
	asked  int                                      // for the stream's state
	deny   string                                   // a subject on which nothing may be published
	subs   map[string]string                        // sid by subject
}

// answers that take may give
func stored(seq int) string { return fmt.Sprintf(`{"stream":%q,"seq":%d}`, DefaultStream, seq) }

func refusal(code jetstream.ErrorCode, text string) string {
	return fmt.Sprintf(`{"error":{"code":503,"err_code":%d,"description":%q}}`, code, text)
}

// newScripted returns the server and a Bus that is connected to it.
func newScripted(t *testing.T, cfg Config) (*scripted, *Bus) {
	t.Helper()
	s := &scripted{t: t, subs: map[string]string{}}
	want, err := StreamConfig{}.resolve()
	if err != nil {
		t.Fatal(err)
	}
	s.info.Config, s.info.Created = want, time.Now()
	conn, err := Dial(t.Context(), "nats://127.0.0.1:4222", DialConfig{Options: []nats.Option{nats.SetCustomDialer(s)}, Logger: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if cfg.Issuer == "" {
		cfg.Issuer = testIssuer
	}
	b, err := Open(t.Context(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return s, b
}

// Dial implements [nats.CustomDialer].
func (s *scripted) Dial(string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go s.serve(server)
	return client, nil
}

func (s *scripted) serve(conn net.Conn) {
	defer conn.Close()
	out := make(chan string, 1000)
	defer close(out)
	go func() {
		for text := range out {
			if _, err := io.WriteString(conn, text); err != nil {
				conn.Close()
			}
		}
	}()
	out <- `INFO {"server_id":"S","server_name":"s","version":"2.12.0","headers":true,"max_payload":1048576,"proto":1,"jetstream":true}` + "\r\n"
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "PING":
			out <- "PONG\r\n"
		case f[0] == "SUB":
			s.mu.Lock()
			s.subs[f[1]] = f[len(f)-1]
			s.mu.Unlock()
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
			if answer := s.answer(m, out); answer != "" {
				s.say(out, reply, answer)
			}
		}
	}
}

// answer returns what is said to a message.
func (s *scripted) answer(m *nats.Msg, out chan<- string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Subject == s.deny {
		out <- fmt.Sprintf("-ERR 'Permissions Violation for Publish to %q'\r\n", m.Subject)
		return ""
	}
	switch {
	case strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO."):
		s.asked++
		s.info.TimeStamp = time.Now()
		b, err := json.Marshal(struct {
			Type string `json:"type"`
			*jetstream.StreamInfo
		}{"io.nats.jetstream.api.v1.stream_info_response", &s.info})
		if err != nil {
			s.t.Error(err)
		}
		return string(b)
	case m.Subject == HeartbeatSubject:
		s.beats = append(s.beats, time.Now())
		if m.Header.Get(SignatureHeader) != "" {
			s.signed++
		}
	case strings.HasPrefix(m.Subject, subjectPrefix):
		s.events++
		if s.take != nil {
			return s.take(s.events, m)
		}
		s.info.State.LastSeq++
		return stored(int(s.info.State.LastSeq))
	}
	return ""
}

// say delivers a message to who listens for that subject.
func (s *scripted) say(out chan<- string, subject, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pattern, sid := range s.subs {
		if prefix, wild := strings.CutSuffix(pattern, "*"); pattern == subject || wild && strings.HasPrefix(subject, prefix) {
			out <- fmt.Sprintf("MSG %s %s %d\r\n%s\r\n", subject, sid, len(text), text)
		}
	}
}

func (s *scripted) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
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
