package wire

import (
	"errors"
	"strconv"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

func present(v strictjson.Value) bool { return v.Kind() != 0 }

// text, Instant and texts leave *dst alone for a missing member and report false
// for one of the wrong type.

func text(v strictjson.Value, dst *string) bool {
	if !present(v) {
		return true
	}
	s, ok := v.Text()
	*dst = s
	return ok
}

func Instant(v strictjson.Value, dst *time.Time) bool {
	if !present(v) {
		return true
	}
	ms, ok := v.Integer()
	if !ok || ms <= 0 {
		return false
	}
	*dst = time.UnixMilli(ms).UTC()
	return true
}

var errElement = errors.New("element of the wrong type, or one too many")

func texts(v strictjson.Value, dst *[]string, most int) bool {
	if !present(v) {
		return true
	}
	isArray, err := v.Elements(func(v strictjson.Value) error {
		s, ok := v.Text()
		if !ok || len(*dst) == most {
			return errElement
		}
		*dst = append(*dst, s)
		return nil
	})
	return isArray && err == nil
}

// A writer appends JSON members and keeps the first error.
type writer struct {
	buf []byte
	err error
}

func (w *writer) text(name, s string) {
	if s == "" {
		return
	}
	w.name(name)
	w.quote(s)
}

func (w *writer) millis(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	w.name(name)
	w.buf = strconv.AppendInt(w.buf, replica.CeilMilli(t).UnixMilli(), 10)
}

func (w *writer) name(name string) {
	w.buf = append(w.buf, ',', '"')
	w.buf = append(w.buf, name...)
	w.buf = append(w.buf, '"', ':')
}

func (w *writer) quote(s string) {
	buf, err := strictjson.AppendText(w.buf, s)
	if err != nil {
		if w.err == nil {
			w.err = errors.New("bus: text is not valid UTF-8")
		}
		return
	}
	w.buf = buf
}

func (w *writer) end() ([]byte, error) {
	return append(w.buf, '}'), w.err
}
