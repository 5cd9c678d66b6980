package bus

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A fakeServer speaks as much of NATS as a publisher needs, over pipes, so that hours of a
// connection's life pass in a bubble of package synctest: it checks the password, answers
// for one stream that is as it should be, and ends connections for good on command.
type fakeServer struct {
	mu       sync.Mutex
	password string              // guarded by mu
	ending   bool                // guarded by mu: every connection is ended as soon as it stands
	poison   string              // guarded by mu: a message that holds it ends the connection; empty: none
	attempts []time.Time         // guarded by mu: to connect
	maxAge   time.Duration       // guarded by mu: the stream's
	ends     int                 // guarded by mu: connections that were ended for good
	stored   []string            // guarded by mu: payloads
	subjects []string            // guarded by mu: theirs
	base     int                 // guarded by mu: messages that are gone, the oldest
	infos    int                 // guarded by mu: requests for the stream's state
	conns    map[net.Conn]func() // guarded by mu: how to end each
}

// Dial is the client library's custom dialer.
func (s *fakeServer) Dial(string, string) (net.Conn, error) {
	client, server := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(s.attempts, time.Now())
	go s.serve(server)
	return client, nil
}

func (s *fakeServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// cut breaks all connections, as a network does.
func (s *fakeServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// has reports whether a message with that text was stored.
func (s *fakeServer) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.stored, func(m string) bool { return strings.Contains(m, text) })
}

// asked returns how often the stream's state was asked for.
func (s *fakeServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.infos
}

func (s *fakeServer) serve(c net.Conn) {
	out := make(chan string, 1024)
	over := make(chan struct{})
	defer close(over)
	defer c.Close()
	go func() { // a pipe holds nothing: who reads must not wait until he is read
		for {
			select {
			case text := <-out:
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
				if strings.HasPrefix(text, "-ERR") {
					c.Close()
					return
				}
			case <-over:
				return
			}
		}
	}()
	s.set(func() {
		if s.conns == nil {
			s.conns = map[net.Conn]func(){}
		}
		s.conns[c] = nil
	})
	defer s.set(func() { delete(s.conns, c) })
	out <- `INFO {"server_id":"fake","version":"2.15.2","headers":true,"max_payload":1048576,"proto":1}` + "\r\n"
	sids := map[string]string{}
	password := ""
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		switch f[0] {
		case "CONNECT":
			var o struct{ Pass string }
			_ = json.Unmarshal([]byte(strings.TrimPrefix(line, "CONNECT")), &o)
			password = o.Pass
		case "PING":
			s.mu.Lock()
			refused, ending := s.password != password, s.ending
			if ending {
				s.ends++
			}
			s.mu.Unlock()
			switch {
			case refused:
				out <- "-ERR 'Authorization Violation'\r\n"
			case ending:
				out <- "PONG\r\n"
				out <- "-ERR 'Nothing That Anybody Knows'\r\n"
			default:
				out <- "PONG\r\n"
			}
		case "SUB":
			sids[f[1]] = f[len(f)-1]
		case "PUB", "HPUB":
			n, _ := strconv.Atoi(f[len(f)-1])
			body := make([]byte, n+2)
			if _, err := io.ReadFull(in, body); err != nil {
				return
			}
			reply := ""
			if len(f) == 4 && f[0] == "PUB" || len(f) == 5 {
				reply = f[2]
			}
			answer, after := s.answer(f[1], string(body[:n])), 50*time.Millisecond
			if answer == "" { // before what came with it is answered
				answer, after = "-ERR 'Maximum Payload Violation'\r\n", 10*time.Millisecond
			} else {
				for subject, sid := range sids {
					if strings.HasPrefix(reply, strings.TrimSuffix(subject, "*")) {
						answer = fmt.Sprintf("MSG %s %s %d\r\n%s\r\n", reply, sid, len(answer), answer)
						break
					}
				}
			}
			if reply != "" || strings.HasPrefix(answer, "-ERR") {
				time.AfterFunc(after, func() { out <- answer })
			}
		}
	}
}

// answer takes a message, and returns what the servers say to it; empty: they end the
// connection.
func (s *fakeServer) answer(subject, body string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasPrefix(subject, "$JS.API.STREAM.INFO."):
		c, err := StreamConfig{}.resolve()
		if err != nil {
			panic(err)
		}
		c.MaxAge = s.maxAge
		config, err := json.Marshal(c)
		if err != nil {
			panic(err)
		}
		s.infos++
		return fmt.Sprintf(`{"type":"io.nats.jetstream.api.v1.stream_info_response","config":%s,"created":"2026-01-01T00:00:00Z","state":{"first_seq":%d,"last_seq":%d}}`,
			config, s.base+1, s.base+len(s.stored))
	case strings.HasPrefix(subject, "$JS.API.STREAM.MSG.GET."):
		var q struct{ Seq int }
		if err := json.Unmarshal([]byte(body), &q); err != nil || q.Seq <= s.base || q.Seq > s.base+len(s.stored) {
			return `{"error":{"code":404,"err_code":10037,"description":"no message found"}}`
		}
		data, _ := json.Marshal([]byte(s.stored[q.Seq-s.base-1]))
		return fmt.Sprintf(`{"message":{"subject":%q,"seq":%d,"data":%s}}`, s.subjects[q.Seq-s.base-1], q.Seq, data)
	case s.poison != "" && strings.Contains(body, s.poison):
		s.ends++
		return ""
	}
	_, payload, _ := strings.Cut(body, "\r\n\r\n") // behind the headers
	s.stored, s.subjects = append(s.stored, payload), append(s.subjects, subject)
	return fmt.Sprintf(`{"stream":%q,"seq":%d}`, DefaultStream, s.base+len(s.stored))
}
