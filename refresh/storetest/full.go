package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
)

// When sessions have used up all the room that they are given, for new records and for
// larger ones in the place of old ones, a keyring can still be made and replaced.
func checkFull(e *env) error {
	const most = 64 << 20
	type kept struct {
		key      string
		revision uint64
	}
	var all []kept
	half := strings.Repeat("s", recordstore.MaxValueBytes/2)
	refused := func(err error) error {
		if errors.Is(err, refresh.ErrConflict) || errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("got Save of a record for which there is no room: %w", err)
		}
		return nil
	}
	for total := 0; ; total += len(half) {
		if total > most {
			return fmt.Errorf("%d MiB in new records, and none was refused (Config.Bounded)", most>>20)
		}
		key := e.key()
		n, err := e.save(key, half, 0)
		if err != nil {
			if err := refused(err); err != nil {
				return err
			}
			break
		}
		all = append(all, kept{key, n})
	}
	if len(all) == 0 {
		return errors.New("no record was taken at all")
	}
	grown := 0
	for _, k := range all {
		if _, err := e.save(k.key, half+half, k.revision); err != nil {
			if err := refused(err); err != nil {
				return err
			}
			break
		}
		grown++
	}
	ring := e.key()
	var revision uint64
	for i := range 20 {
		n, err := e.saveUntil(ring, half[:32<<10], revision, recordstore.Never)
		if err != nil {
			return fmt.Errorf("a record that never expires, write %d, after %d that expire, of which %d have grown: %w", i, len(all), grown, err)
		}
		revision = n
	}
	return e.expect(ring, half[:32<<10], revision)
}
