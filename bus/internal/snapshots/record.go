package snapshots

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// A Record is what the bucket's only key holds. Who writes the next snapshot and which is the
// newest stand in one, so that its revision is the fence: who takes the writing over changes
// it, and who had it before can then move nothing.
type Record struct {
	Newest Pointer // zero: there is none
	Holder string  // who is writing the next; empty: nobody
	Name   string  // of the holder, for people
}

// A Pointer names a snapshot.
type Pointer struct {
	Digest   [32]byte  // SHA-256 of the object, whose name it is, in hexadecimal
	Size     int64     // of the object in bytes
	Sequence uint64    // of the record in the log at which it goes on
	Created  time.Time // when the stream was made, as its server says: which stream that is
	Written  time.Time // by the writer's clock
	Signer   string    // the public key that has signed it, in hexadecimal, for people
}

// Name is the object's.
func (p *Pointer) Name() string { return hex.EncodeToString(p.Digest[:]) }

const (
	recordVersion  = 1
	maxRecordBytes = 4 << 10
	maxText        = 256 // of each text in a record
)

// errRecord is the family of errors for a value that is no record.
var errRecord = errors.New("not a record of snapshots")

func (r *Record) encode() ([]byte, error) {
	b := append(make([]byte, 0, 512), `{"v":1`...)
	var err error
	text := func(name, s string) {
		if s == "" || err != nil {
			return
		}
		b = append(b, `,"`+name+`":`...)
		b, err = strictjson.AppendText(b, s)
	}
	text("holder", r.Holder)
	text("name", r.Name)
	if n := &r.Newest; n.Size > 0 {
		text("object", n.Name())
		b = fmt.Appendf(b, `,"size":%d`, n.Size)
		text("seq", strconv.FormatUint(n.Sequence, 10)) // a number would end at 2⁵³ for some
		text("stream", n.Created.UTC().Format(time.RFC3339Nano))
		b = fmt.Appendf(b, `,"written":%d`, n.Written.UnixMilli())
		text("signer", n.Signer)
	}
	if b = append(b, '}'); err == nil && len(b) > maxRecordBytes {
		err = fmt.Errorf("%d bytes, more than %d", len(b), maxRecordBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: snapshots: %w: %w", errRecord, err)
	}
	return b, nil
}

// decode reads a record from outside. Members that it does not know are left alone.
func decode(b []byte) (Record, error) {
	r, err := decodeRecord(b)
	if err != nil {
		return Record{}, fmt.Errorf("bus: snapshots: %w: %w", errRecord, err)
	}
	return r, nil
}

func decodeRecord(b []byte) (r Record, err error) {
	if len(b) > maxRecordBytes {
		return r, fmt.Errorf("%d bytes, more than %d", len(b), maxRecordBytes)
	}
	version, seen := int64(0), 0
	n := &r.Newest
	err = strictjson.Object(b, func(member string, v strictjson.Value) error {
		ok := true
		var s string
		text := func() string {
			s, ok = v.Text()
			ok = ok && s != "" && len(s) <= maxText
			return s
		}
		switch member {
		case "v":
			version, ok = v.Int()
		case "holder":
			r.Holder = text()
		case "name":
			r.Name = text()
		case "signer":
			n.Signer = text()
		case "object":
			var digest []byte
			if digest, err = hex.DecodeString(text()); err == nil && len(digest) == len(n.Digest) {
				copy(n.Digest[:], digest)
			} else {
				ok = false
			}
			ok = ok && n.Name() == s // one object has one name
		case "size":
			n.Size, ok = v.Int()
			ok = ok && n.Size > 0
		case "seq":
			n.Sequence, err = strconv.ParseUint(text(), 10, 63)
			ok = ok && err == nil && n.Sequence > 0
		case "stream":
			n.Created, err = time.Parse(time.RFC3339Nano, text())
			ok = ok && err == nil
			n.Created = n.Created.UTC()
		case "written":
			var ms int64
			ms, ok = v.Int()
			n.Written = time.UnixMilli(ms).UTC()
		default:
			return nil
		}
		switch member {
		case "object", "size", "seq", "stream", "written":
			seen++
		}
		if !ok {
			return fmt.Errorf("member %q cannot be used", member)
		}
		return nil
	})
	switch {
	case err != nil:
		return r, err
	case version != recordVersion:
		return r, fmt.Errorf("version %d, this program knows %d", version, recordVersion)
	case seen != 0 && seen != 5:
		return r, errors.New("half a pointer")
	}
	return r, nil
}
