package scripted

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
)

// A Consumer delivers the stream to who asks for it, in order.
type Consumer struct {
	c         *Conn
	name      string
	next      uint64 // sequence
	Delivered uint64
	inbox     string
	Requests  []scriptedPull
	ticking   bool
	over      chan struct{} // closed when it is deleted
}

type scriptedPull struct {
	Left, bytes int
	end         time.Time
}

// deliver gives what was asked for. The caller holds the server's mu.
func (k *Consumer) deliver() {
	s := k.c.s
	if s.Mute || s.Isolated == k.c.address {
		return
	}
	for _, l := range s.Log {
		if l.seq < k.next || len(k.Requests) == 0 {
			continue
		}
		k.next, k.Delivered = l.seq+1, k.Delivered+1
		ack := fmt.Sprintf("$JS.ACK.%s.%s.1.%d.%d.%d.%d", stream.DefaultName, k.name, l.seq, k.Delivered, l.Time.UnixNano(), s.Info.State.LastSeq-l.seq)
		k.c.tell(k.inbox, &nats.Msg{Subject: l.Msg.Subject, Reply: ack, Header: l.Msg.Header, Data: l.Msg.Data})
		q := &k.Requests[0]
		if q.Left, q.bytes = q.Left-1, q.bytes-l.Msg.Size()-len(ack); q.Left == 0 {
			k.Word("409", "Batch Completed")
		}
	}
}

// tick says every idle interval that the server is there, and ends requests in time.
func (k *Consumer) tick(idle time.Duration) {
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
		k.c.s.Do(func() {
			if k.c.s.Mute {
				return
			}
			for len(k.Requests) > 0 && !time.Now().Before(k.Requests[0].end) {
				k.Word("408", "Request Timeout")
			}
			k.Word("100", "Idle Heartbeat")
			k.deliver()
		})
	}
}

// Word says something else than a message: with 408 and 409 it ends a request, what is
// left of which it tells. The caller holds the server's mu.
func (k *Consumer) Word(code, text string) {
	h := nats.Header{"Status": {code}, "Description": {text}}
	if code != "100" && len(k.Requests) > 0 {
		h["Nats-Pending-Messages"], h["Nats-Pending-Bytes"] = []string{strconv.Itoa(k.Requests[0].Left)}, []string{strconv.Itoa(k.Requests[0].bytes)}
		k.Requests = k.Requests[1:]
	}
	k.c.tell(k.inbox, &nats.Msg{Subject: k.inbox, Header: h})
}
