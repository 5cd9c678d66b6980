package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
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
	body := line[9:]
	var sum [8]byte
	return body, bytes.Equal(line[:8], fmt.Appendf(sum[:0], "%08x", crc32.Checksum(body, castagnoli)))
}

func encodeOutboxEntry(e *outboxEntry) []byte {
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
	b, _ := json.Marshal(m) // texts and numbers: it never fails
	return outboxLine(b)
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
			ok = wire.Instant(v, &e.gone) && ok
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
		return e, !e.gone.IsZero() && len(e.payload) <= wire.MaxEventBytes
	case e.op == "ack":
		return e, e.seq != 0
	}
	return e, e.op == "drop" || e.op == "lost"
}

// checkOutboxHead returns the issuers that the first line of an outbox names, nil if body is
// no such line, and refuses one of another version, or of none of these issuers.
func checkOutboxHead(body []byte, issuers []string) (named []string, refused error) {
	var v, iss strictjson.Value
	err := strictjson.Object(body, func(name string, value strictjson.Value) error {
		switch name {
		case "v":
			v = value
		case "iss":
			iss = value
		}
		return nil
	})
	version, ok1 := v.Int()
	name, ok2 := iss.Text()
	switch {
	case err != nil || !ok1 || !ok2:
		return nil, nil
	case version != outboxVersion:
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrOutbox, version, outboxVersion)
	}
	named = strings.Split(name, "\n")
	if !slices.ContainsFunc(named, func(of string) bool { return slices.Contains(issuers, of) }) {
		return nil, fmt.Errorf("%w: it is of issuer %q", ErrOutbox, named)
	}
	return named, nil
}

// outboxHead returns the first line, which names the issuers in one string, each on a line, so that a version that
// knows only one refuses the file of several.
func outboxHead(issuers []string) []byte {
	b, _ := json.Marshal(map[string]any{"v": outboxVersion, "iss": strings.Join(issuers, "\n")}) // never fails
	return outboxLine(b)
}

func entryOf(rec *record) *outboxEntry {
	return &outboxEntry{op: "put", id: rec.id, subject: rec.subject, payload: string(rec.payload), signature: rec.signature, gone: rec.gone, seq: rec.seq, open: rec.open}
}
