package issue

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// What a FileStore keeps is a line
//
//	hybridtoken records 1 SUM
//
// with the SHA-256, in base64url, of all that comes after it: one strict JSON object
//
//	{"revision":17,"records":[{"key":"ring","revision":17,"expires":253402300799000,"value":"…"}]}
//
// whose times are in milliseconds and whose values are in base64url. What does not begin
// so is the ring of an earlier version, which was the whole file.

const (
	maxFileBytes = 16 << 20
	fileHead     = "hybridtoken records 1 "

	// formerRevisions is the least revision of what an earlier version has written: above
	// all that a clock in microseconds gives in a hundred thousand years.
	formerRevisions = 1 << 62

	// fileLinger is by how much the clocks of two processes on one machine, or one clock
	// at two times, are expected to differ at most: so much longer are records kept.
	fileLinger = 5 * time.Minute
)

// A fileContent is what a file holds.
type fileContent struct {
	revision uint64 // of the newest write, whatever its key
	records  map[string]fileRecord
}

type fileRecord struct {
	value    []byte
	revision uint64
	expires  int64 // unix milliseconds
}

// live returns the record under key, unless it has expired long enough ago.
func (c *fileContent) live(key string, now time.Time) (fileRecord, bool) {
	r, ok := c.records[key]
	return r, ok && now.UnixMilli() <= r.expires+fileLinger.Milliseconds()
}

// next returns a revision that no record has had: also none of a file that was here
// before this one, or of this one before it was put back to a copy.
func (c *fileContent) next(now time.Time) uint64 {
	return max(c.revision+1, uint64(max(now.UnixMicro(), 1)))
}

// encode returns what the file shall hold. Records that have expired are left out.
func (c *fileContent) encode(now time.Time) ([]byte, error) {
	body := fmt.Appendf(nil, `{"revision":%d,"records":[`, c.revision)
	first := true
	for _, key := range slices.Sorted(maps.Keys(c.records)) {
		r, ok := c.live(key, now)
		if !ok {
			continue
		}
		if !first {
			body = append(body, ',')
		}
		first = false
		body = fmt.Appendf(body, "\n"+`{"key":"%s","revision":%d,"expires":%d,"value":"`, key, r.revision, r.expires)
		body = base64.RawURLEncoding.AppendEncode(body, r.value)
		body = append(body, `"}`...)
	}
	body = append(body, "]}\n"...)
	file := append(append([]byte(fileHead), fileSum(body)...), '\n')
	file = append(file, body...)
	clear(body)
	if len(file) > maxFileBytes {
		clear(file)
		return nil, fmt.Errorf("the file would have more than %d bytes", maxFileBytes)
	}
	return file, nil
}

func fileSum(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// decodeFile reads what a file holds: all of it or nothing. No error repeats a part of it.
func decodeFile(file []byte) (*fileContent, error) {
	rest, ok := bytes.CutPrefix(file, []byte(fileHead))
	if !ok {
		if len(file) > maxRingBytes {
			return nil, fmt.Errorf("more than %d bytes", maxRingBytes)
		}
		return &fileContent{records: map[string]fileRecord{
			ringKey(""): {file, formerRevision(file), recordstore.Never.UnixMilli()},
		}}, nil
	}
	sum, body, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || string(sum) != fileSum(body) {
		return nil, errors.New("the checksum is wrong: it was damaged, or changed by hand")
	}
	return decodeRecords(body)
}

// formerRevision names what the file of an earlier version holds, which named a ring by its
// digest.
func formerRevision(file []byte) uint64 {
	sum := sha256.Sum256(file)
	return binary.BigEndian.Uint64(sum[:])>>1 | formerRevisions
}

func decodeRecords(body []byte) (*fileContent, error) {
	c := &fileContent{records: map[string]fileRecord{}}
	hasRevision, hasRecords := false, false
	err := strictjson.Object(body, func(name string, v strictjson.Value) error {
		switch name {
		case "revision":
			n, ok := v.Int()
			if !ok || n < 0 || n >= formerRevisions {
				return errors.New("revision is no count of ours")
			}
			c.revision, hasRevision = uint64(n), true
		case "records":
			isArray, err := v.Elements(c.add)
			if !isArray {
				return errors.New("records is no array")
			}
			hasRecords = true
			return err
		default:
			return errors.New("a member that we do not know")
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case !hasRevision || !hasRecords:
		return nil, errors.New("no revision or no records")
	}
	for _, r := range c.records {
		if r.revision == 0 || r.revision > c.revision && r.revision < formerRevisions {
			return nil, errors.New("a record of a revision that is yet to come")
		}
	}
	return c, nil
}

// add reads one record.
func (c *fileContent) add(v strictjson.Value) error {
	if v.Kind() != '{' {
		return errors.New("a record that is no object")
	}
	var key, value string
	var r fileRecord
	has := map[string]bool{}
	err := strictjson.Object(v.Raw(), func(name string, v strictjson.Value) error {
		ok := false
		switch name {
		case "key":
			key, ok = v.Text()
		case "revision":
			var n int64
			n, ok = v.Int()
			ok = ok && n > 0
			r.revision = uint64(n)
		case "expires":
			r.expires, ok = v.Int()
			ok = ok && r.expires <= shape.MaxSeconds*1000
		case "value":
			value, ok = v.Text()
		default:
			return errors.New("a member of a record that we do not know")
		}
		if !ok {
			return fmt.Errorf("%s of a record is of the wrong type", name)
		}
		has[name] = true
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(has) != 4:
		return errors.New("a record that lacks a member")
	case recordstore.Check(key, nil) != nil:
		return errors.New("a key that is none")
	case len(value) > base64.RawURLEncoding.EncodedLen(maxRingBytes):
		return fmt.Errorf("a value of more than %d bytes", maxRingBytes)
	}
	if _, twice := c.records[key]; twice {
		return errors.New("two records with one key")
	}
	if r.value, err = base64.RawURLEncoding.Strict().DecodeString(value); err != nil {
		return errors.New("a value that is not base64url")
	}
	c.records[key] = r
	return nil
}
