package bus

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// An outboxEntry is what one line says.
type outboxEntry struct {
	op, id, subject, payload, signature string
	gone                                time.Time
	seq                                 uint64
	open                                bool
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func outboxLine(b []byte) []byte {
	line := make([]byte, 0, len(b)+10)
	sum := crc32.Checksum(b, castagnoli)
	line = fmt.Appendf(line, "%08x ", sum)
	line = append(line, b...)
	return append(line, '\n')
}

// unwrapOutboxLine returns the JSON of a line whose checksum is right.
func unwrapOutboxLine(line []byte) ([]byte, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], line[:8]); err != nil {
		return nil, false
	}
	body := line[9:]
	want := crc32.Checksum(body, castagnoli)
	return body, want == uint32(sum[0])<<24|uint32(sum[1])<<16|uint32(sum[2])<<8|uint32(sum[3])
}

func encodeOutboxEntry(e *outboxEntry) ([]byte, error) {
	m := map[string]any{"op": e.op, "id": e.id}
	if e.op == "put" {
		m["subject"], m["payload"], m["gone"] = e.subject, e.payload, e.gone.UnixMilli()
		if e.signature != "" {
			m["signature"] = e.signature
		}
		if e.open {
			m["open"] = true
		}
	}
	if e.seq != 0 {
		m["seq"] = e.seq
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return outboxLine(b), nil
}

// decodeOutboxEntry reads the JSON of one line.
func decodeOutboxEntry(body []byte) (e outboxEntry, ok bool) {
	ok = true
	err := strictjson.Object(body, func(name string, v strictjson.Value) error {
		text := func(dst *string) {
			s, is := v.Text()
			*dst, ok = s, ok && is
		}
		switch name {
		case "op":
			text(&e.op)
		case "id":
			text(&e.id)
		case "subject":
			text(&e.subject)
		case "payload":
			text(&e.payload)
		case "signature":
			text(&e.signature)
		case "gone":
			ok = instant(v, &e.gone) && ok
		case "open":
			var is bool
			e.open, is = v.Bool()
			ok = ok && is
		case "seq":
			n, is := v.Int()
			e.seq, ok = uint64(n), ok && is && n > 0
		}
		return nil
	})
	switch {
	case err != nil || !ok || e.id == "" || len(e.id) > 64:
		return outboxEntry{}, false
	case e.op == "put":
		return e, !e.gone.IsZero() && len(e.payload) <= maxEventBytes
	case e.op == "ack":
		return e, e.seq != 0
	}
	return e, e.op == "drop" || e.op == "lost"
}

// readOutbox returns what is alive in a file: by id, in no order.
func readOutbox(r io.Reader, issuer string, now time.Time) (alive map[string]*record, damaged int, err error) {
	br := bufio.NewReaderSize(io.LimitReader(r, maxOutboxBytes+1), maxOutboxLine)
	alive = map[string]*record{}
	var decoder decoder
	var total int64
	for first := true; ; first = false {
		line, err := br.ReadSlice('\n')
		total += int64(len(line))
		switch {
		case total > maxOutboxBytes:
			return nil, 0, fmt.Errorf("%w: more than %d bytes", ErrOutbox, maxOutboxBytes)
		case errors.Is(err, io.EOF):
			return alive, damaged, nil // what stands there a crash has cut
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, 0, fmt.Errorf("%w: a line of more than %d bytes: not an outbox", ErrOutbox, maxOutboxLine)
		case err != nil:
			return nil, 0, fmt.Errorf("%w: %w", ErrOutbox, err)
		}
		body, ok := unwrapOutboxLine(bytes.TrimSuffix(line, []byte("\n")))
		if first {
			if err := checkOutboxHead(body, ok, issuer); err != nil {
				return nil, 0, err
			}
			continue
		}
		if len(line) == 1 { // it follows half a line
			continue
		}
		e, good := outboxEntry{}, false
		if ok {
			e, good = decodeOutboxEntry(body)
		}
		if !good {
			damaged++
			continue
		}
		switch e.op {
		case "put":
			// What is published is decided here and not by who can write the file.
			msg, fault := decoder.decode(e.subject, []byte(e.payload))
			if fault != 0 || msg.beat || msg.event.Issuer != issuer {
				damaged++
				continue
			}
			alive[e.id] = &record{
				subject: e.subject, payload: []byte(e.payload), signature: e.signature, gone: e.gone, limit: limitMass, id: e.id, seq: e.seq, open: e.open,
			}
		case "ack":
			if rec := alive[e.id]; rec != nil {
				rec.seq = e.seq
			}
		case "drop":
			delete(alive, e.id)
		case "lost":
			for _, rec := range alive {
				rec.seq = 0
			}
		}
		// Whether one that was never acknowledged has expired is not for our clock alone
		// to say.
		if rec := alive[e.id]; rec != nil && rec.seq != 0 && !now.Before(rec.gone) {
			delete(alive, e.id)
		}
	}
}

func checkOutboxHead(body []byte, ok bool, issuer string) error {
	var v, iss strictjson.Value
	if ok {
		ok = strictjson.Object(body, func(name string, value strictjson.Value) error {
			switch name {
			case "v":
				v = value
			case "iss":
				iss = value
			}
			return nil
		}) == nil
	}
	version, ok1 := v.Int()
	name, ok2 := iss.Text()
	switch {
	case !ok || !ok1 || !ok2:
		return fmt.Errorf("%w: not an outbox", ErrOutbox)
	case version != outboxVersion:
		return fmt.Errorf("%w: version %d, this program knows %d", ErrOutbox, version, outboxVersion)
	case name != issuer:
		return fmt.Errorf("%w: it is of issuer %q", ErrOutbox, name)
	}
	return nil
}

// stored is a copy of what the file holds: the record itself changes under other locks.
func (r *record) stored() *record {
	return &record{subject: r.subject, payload: r.payload, signature: r.signature, gone: r.gone, id: r.id, seq: r.seq, open: r.open}
}

func entryOf(rec *record) *outboxEntry {
	return &outboxEntry{op: "put", id: rec.id, subject: rec.subject, payload: string(rec.payload), signature: rec.signature, gone: rec.gone, seq: rec.seq, open: rec.open}
}
