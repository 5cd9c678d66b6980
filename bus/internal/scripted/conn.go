package scripted

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A Conn is one connection to a scripted.
type Conn struct {
	s       *Server
	address string // of the server, one of a cluster
	conn    net.Conn
	out     chan string
	over    chan struct{} // closed when it has ended

	subs      map[string]string    // subject by sid
	Consumers map[string]*Consumer // made over it
}

// send writes behind what is written already: a pipe holds nothing, and who reads must
// not wait until he is read.
func (c *Conn) send(text string) {
	select {
	case c.out <- text:
	case <-c.over:
	}
}

func (c *Conn) serve() {
	s := c.s
	defer func() {
		c.conn.Close()
		close(c.over)
		s.Do(func() {
			s.Conns = slices.DeleteFunc(s.Conns, func(other *Conn) bool { return other == c })
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
	s.Do(func() { c.send(s.infoLine(c.address)) })
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
			s.Do(func() {
				switch {
				case s.Password != password:
					c.send("-ERR 'Authorization Violation'\r\n")
				case s.Ending:
					s.Ends++
					c.send("PONG\r\n")
					c.send("-ERR 'Nothing That Anybody Knows'\r\n")
				default:
					c.send("PONG\r\n")
				}
			})
		case f[0] == "SUB":
			s.Do(func() {
				if s.DenySub != "" && f[1] == s.DenySub {
					c.send(fmt.Sprintf("-ERR 'Permissions Violation for Subscription to %q'\r\n", f[1]))
					return
				}
				c.subs[f[len(f)-1]] = f[1]
			})
		case f[0] == "UNSUB":
			s.Do(func() { delete(c.subs, f[1]) })
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
			s.Do(func() {
				answer := s.answer(c, m)
				switch {
				case strings.HasPrefix(answer, "-ERR"): // before what came with it is answered
					time.AfterFunc(s.Delay/5, func() { c.send(answer + "\r\n") })
				case answer == "" || reply == "":
				case s.Delay > 0:
					time.AfterFunc(s.Delay, func() { s.Do(func() { c.tell(reply, &nats.Msg{Subject: reply, Data: []byte(answer)}) }) })
				default:
					c.tell(reply, &nats.Msg{Subject: reply, Data: []byte(answer)})
				}
			})
		}
	}
}

// infoLine returns what the server says of itself. The caller holds mu.
func (s *Server) infoLine(address string) string {
	most, id := s.maxBytes, address
	if s.ID != "" {
		id = s.ID
	}
	if most == 0 {
		most = 1 << 20
	}
	return fmt.Sprintf(`INFO {"server_id":%q,"server_name":"s","version":"2.12.0","headers":true,"max_payload":%d,"proto":1,"jetstream":true}`+"\r\n", id, most)
}

// tell delivers m to who listens for that subject, which need not be its own. The caller
// holds the server's mu.
func (c *Conn) tell(to string, m *nats.Msg) (heard int) {
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
