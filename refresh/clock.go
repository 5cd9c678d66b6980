package refresh

import (
	"fmt"
	"time"
)

// clock refuses what must not be judged by a clock that is off: what is minted by it would
// outrun cutoffs or be refused, and sessions would seem to have expired.
func (m *Manager) clock() error {
	now := m.now()
	off := m.cfg.Revocations.ClockOff(now)
	if off == 0 {
		return nil
	}
	if last := m.clockTold.Load(); (last == 0 || now.Mono-last > int64(time.Minute)) && m.clockTold.CompareAndSwap(last, now.Mono) {
		m.log.Error("refresh: this process's clock is off, by the bus's: no session is refreshed or begun until it is set", "ahead", off.Round(time.Millisecond))
	}
	return fmt.Errorf("%w: %s ahead of the bus's", ErrClock, off.Round(time.Millisecond))
}
