package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
)

func checkCreate(e *env) error {
	k := e.key()
	var n uint64
	return first(
		func() error { return e.missing(k) },
		func() error { return e.refuse(k, "x", 1, "there is no record") },
		func() error { return e.refuse(k, "x", math.MaxUint64, "there is no record") },
		func() error { return e.missing(k) },
		func() (err error) { n, err = e.must(k, "one", 0); return err },
		func() error { return e.expect(k, "one", n) },
		func() error { return e.refuse(k, "two", 0, "the record exists") },
		func() error { return e.expect(k, "one", n) },
	)
}

func checkUpdate(e *env) error {
	k := e.key()
	one, err := e.must(k, "one", 0)
	if err != nil {
		return err
	}
	two, err := e.must(k, "two", one)
	if err != nil {
		return err
	}
	three, err := e.must(k, "three", two)
	if err != nil {
		return err
	}
	for _, old := range []uint64{0, one, two, three + 1, three - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64} {
		if old == three {
			continue
		}
		if err := e.refuse(k, "four", old, fmt.Sprintf("the record's revision is %d", three)); err != nil {
			return err
		}
	}
	if err := e.expect(k, "three", three); err != nil {
		return err
	}
	_, err = e.must(k, "three", three) // the same value is a write, too
	if err != nil {
		return err
	}
	return e.refuse(k, "four", three, "it was replaced by the same value")
}

// No revision of a key comes twice, and another key's revisions do not count.
func checkRevisions(e *env) error {
	keys := []string{e.key(), e.key()}
	seen := []map[uint64]bool{{}, {}}
	now := make([]uint64, 2)
	for i := range 100 {
		w := i * 7 % 3 % 2
		n, err := e.must(keys[w], fmt.Sprint("value ", i%5), now[w])
		if err != nil {
			return err
		}
		if seen[w][n] {
			return fmt.Errorf("revision %d was given twice", n)
		}
		seen[w][n], now[w] = true, n
	}
	for old := range seen[0] {
		if old != now[0] {
			if err := e.refuse(keys[0], "x", old, "it was replaced"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Keys that are alike are different keys.
func checkKeys(e *env) error {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	p := e.name + "-"
	keys := []string{
		p + "a", p + "A", p + "a.a", p + "a.b", p + "a.b.c", p + "a-b", p + "a_b", p + "-", p + "_", p + "--",
		strings.Repeat("x", recordstore.MaxKeyBytes-len(p)) + p, strings.Repeat("x", recordstore.MaxKeyBytes-len(p)-1) + p,
		p + strings.Repeat("y.", (recordstore.MaxKeyBytes-len(p)-1)/2) + "y",
	}
	last := p + strings.Repeat("z", recordstore.MaxKeyBytes-len(p)-1)
	keys = append(keys, last+"1", last+"2", last)
	for part := range slices.Chunk([]byte(alphabet), recordstore.MaxKeyBytes-len(p)) {
		keys = append(keys, p+string(part))
	}
	revisions := map[string]uint64{}
	for _, k := range keys {
		if err := e.missing(k); err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		n, err := e.must(k, "value of "+k, 0)
		if err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
		revisions[k] = n
	}
	for _, k := range keys {
		if err := e.expect(k, "value of "+k, revisions[k]); err != nil {
			return fmt.Errorf("key %s: %w", k, err)
		}
	}
	return e.missing(p + "b")
}

// A key that is none must not be taken for a pattern or another key. Refusing it is
// best; keeping it like others does no harm.
func checkBadKeys(e *env) error {
	k := e.key()
	n, err := e.must(k, "good", 0)
	if err != nil {
		return err
	}
	prefix, _, _ := strings.Cut(k, ".")
	for _, bad := range []string{
		"", "*", ">", prefix + ".*", prefix + ".>", "." + k, k + ".", prefix + ".." + k, k + " ", " " + k, k + "\n", k + "\x00", k + "\r\n",
		prefix + "/" + k, "../" + k, k + "é", k + "\xff", strings.Repeat("k", recordstore.MaxKeyBytes+1), strings.Repeat("k", 1<<20), strings.ToUpper(k) + "%2e",
	} {
		if r, err := e.load(bad); err == nil {
			return fmt.Errorf("got Load(%q) = %q, revision %d; nobody saved it", short(bad), short(string(r.Value)), r.Revision)
		}
		for _, revision := range []uint64{n, 0} {
			got, err := e.save(bad, "bad", revision)
			if err != nil {
				continue
			}
			if r, err := e.load(bad); revision != 0 || err != nil || string(r.Value) != "bad" || r.Revision != got {
				return fmt.Errorf("got Save(%q, revision %d) succeeded; Load = %q, revision %d, %v", short(bad), revision, short(string(r.Value)), r.Revision, err)
			}
		}
	}
	return e.expect(k, "good", n)
}

func checkValues(e *env) error {
	k := e.key()
	var n uint64
	for _, size := range []int{0, 1, 2, 255, 256, 257, 1000, 4096, 1<<15 - 1, 1 << 15, recordstore.MaxValueBytes - 1, recordstore.MaxValueBytes, 0, 3} {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(i + i>>8 + size)
		}
		var err error
		if n, err = e.must(k, string(value), n); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
		if err := e.expect(k, string(value), n); err != nil {
			return fmt.Errorf("%d bytes: %w", size, err)
		}
	}
	for b := range 256 { // as the whole, and as the first
		value := strings.Repeat(string([]byte{byte(b)}), 1+b%3)
		var err error
		if n, err = e.must(k, value, n); err != nil {
			return fmt.Errorf("byte %#x: %w", b, err)
		}
		if err := e.expect(k, value, n); err != nil {
			return fmt.Errorf("byte %#x: %w", b, err)
		}
	}
	// One that is too large is refused, or kept whole.
	large := strings.Repeat("x", recordstore.MaxValueBytes+1)
	got, err := e.save(k, large, n)
	if err == nil {
		return e.expect(k, large, got)
	}
	if errors.Is(err, refresh.ErrConflict) {
		return fmt.Errorf("got Save of %d bytes: %w", len(large), err)
	}
	return e.expect(k, strings.Repeat("\xff", 1), n)
}

// What the caller does with its slices afterwards changes nothing.
func checkSlices(e *env) error {
	k := e.key()
	value := []byte("value")
	n, err := e.s.Save(e.ctx, k, value, 0, later())
	if err != nil {
		return err
	}
	copy(value, "VALUE")
	if err := e.expect(k, "value", n); err != nil {
		return fmt.Errorf("after a change of the slice that was saved: %w", err)
	}
	r, err := e.load(k)
	if err != nil {
		return err
	}
	copy(r.Value, "VALUE")
	r.Value = append(r.Value[:0], "other value"...)
	if err := e.expect(k, "value", n); err != nil {
		return fmt.Errorf("after a change of the slice that was loaded: %w", err)
	}
	long := append(make([]byte, 0, 64), "value 2"...)
	if n, err = e.s.Save(e.ctx, k, long, n, later()); err != nil {
		return err
	}
	_ = append(long, "and more"...)
	clear(long)
	return e.expect(k, "value 2", n)
}

// A context that has ended is an error, and none that decides anything.
func checkCancelled(e *env) error {
	k := e.key()
	n, err := e.must(k, "one", 0)
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	expired, cancel := context.WithDeadline(e.ctx, time.Now().Add(-time.Second))
	defer cancel()
	for _, ctx := range []context.Context{cancelled, expired} {
		for _, key := range []string{k, e.key()} {
			if _, err := e.s.Load(ctx, key); !ended(err) {
				return fmt.Errorf("got Load after the context ended: %v; want an error, neither ErrNotFound nor ErrConflict", err)
			}
			for _, revision := range []uint64{n, 0, n + 1} {
				if got, err := e.s.Save(ctx, key, []byte("two"), revision, later()); !ended(err) {
					return fmt.Errorf("got Save after the context ended = %d, %v; want an error, neither ErrNotFound nor ErrConflict", got, err)
				}
			}
		}
	}
	r, err := e.load(k)
	if err != nil {
		return err
	}
	if v := string(r.Value); v != "one" && v != "two" {
		return fmt.Errorf("got Load = %q; nobody saved it", short(v))
	}
	_, err = e.must(k, "three", r.Revision)
	return err
}

func ended(err error) bool {
	return err != nil && !errors.Is(err, refresh.ErrNotFound) && !errors.Is(err, refresh.ErrConflict)
}
