package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// Records live until they expire, each Save counts anew, and what comes after them
// has other revisions.
func checkExpiry(e *env) error {
	// Records that live for seconds are enough if the writes are done by then.
	for life := 2 * time.Second; ; life *= 4 {
		if inTime, err := e.expiry(life); inTime || err != nil {
			return err
		}
		if life > time.Minute {
			return errors.New("a dozen writes take longer than two minutes")
		}
	}
}

// expiry reports false if the writes took longer than life.
func (e *env) expiry(life time.Duration) (inTime bool, err error) {
	var (
		expires   = time.Now().Add(life)
		much      = expires.Add(24 * time.Hour)
		prolonged = e.key() // saved with that expiry, then with a later one
		shortened = e.key() // the other way round
		updated   = e.key() // twice with the same
		plain     = e.key()
		far, ever = e.key(), e.key()
		kept      = e.key() // saved with that expiry, then with none
		revisions = map[string]uint64{}
	)
	for _, w := range []struct {
		key     string
		expires time.Time
	}{{far, expires.AddDate(290, 0, 0)}, {ever, recordstore.Never}, {prolonged, expires}, {prolonged, much}, {kept, expires}, {kept, recordstore.Never}, {kept, recordstore.Never}, {shortened, much}, {shortened, expires}, {updated, expires}, {updated, expires}, {plain, expires}} {
		n, err := e.saveUntil(w.key, "value", revisions[w.key], w.expires)
		if err != nil {
			if time.Now().After(expires) {
				return false, nil
			}
			return true, err
		}
		revisions[w.key] = n
	}
	if time.Now().After(expires) {
		return false, nil
	}
	for _, key := range []string{plain, updated, shortened} {
		if err := e.expire(key, expires, revisions[key]); err != nil {
			return true, err
		}
	}
	if err := e.expect(prolonged, "value", revisions[prolonged]); err != nil {
		return true, fmt.Errorf("saved again with a later expiry: %w", err)
	}
	for range 3 { // it goes on being replaced, as a keyring is
		if err := e.expect(kept, "value", revisions[kept]); err != nil {
			return true, fmt.Errorf("saved again without an expiry: %w", err)
		}
		n, err := e.saveUntil(kept, "value", revisions[kept], recordstore.Never)
		if err != nil {
			return true, fmt.Errorf("a record without an expiry: %w", err)
		}
		revisions[kept] = n
	}
	for _, key := range []string{far, ever} { // arithmetic that overflows forgets them with the others
		if err := e.expect(key, "value", revisions[key]); err != nil {
			return true, fmt.Errorf("of an expiry in centuries: %w", err)
		}
	}
	return true, nil
}

// expire waits until the record has been forgotten, and saves another in its place.
func (e *env) expire(key string, expires time.Time, old uint64) error {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		r, err := e.load(key)
		now := time.Now()
		if errors.Is(err, refresh.ErrNotFound) {
			if now.Before(expires) {
				return fmt.Errorf("the record was forgotten %s before it expired", expires.Sub(now))
			}
			break
		}
		if err != nil {
			return err
		}
		if string(r.Value) != "value" || r.Revision != old {
			return fmt.Errorf("got Load = %q, revision %d; want %q, %d", short(string(r.Value)), r.Revision, "value", old)
		}
		if now.After(expires.Add(e.cfg.Linger)) {
			return fmt.Errorf("a record is still found %s after it expired (Config.Linger)", now.Sub(expires))
		}
		<-pause.C
	}
	if err := e.refuse(key, "x", old, "that record has expired"); err != nil {
		return err
	}
	n, err := e.must(key, "anew", 0)
	if err != nil {
		return fmt.Errorf("after the expiry: %w", err)
	}
	if n == old {
		return fmt.Errorf("revision %d is that of a record that has expired", n)
	}
	if err := e.refuse(key, "x", old, "it is the revision of a record that has expired"); err != nil {
		return err
	}
	return e.expect(key, "anew", n)
}

// A far expiry is not taken for a past one.
func checkFarExpiry(e *env) error {
	for _, expires := range []time.Time{
		time.Now().AddDate(1, 0, 0), time.Now().AddDate(10, 0, 0), time.Now().AddDate(290, 0, 0),
		recordstore.Never,
	} {
		k := e.key()
		n, err := e.saveUntil(k, "value", 0, expires)
		if err != nil {
			return fmt.Errorf("expiry %s: %w", expires, err)
		}
		if n, err = e.saveUntil(k, "value 2", n, expires); err != nil {
			return fmt.Errorf("expiry %s: %w", expires, err)
		}
		if err := e.expect(k, "value 2", n); err != nil {
			return fmt.Errorf("expiry %s: %w", expires, err)
		}
	}
	return nil
}
