package refresh

import (
	"fmt"
	"time"
)

// clock refuses what must not be judged by a clock that is off: what is minted by it would
// outrun cutoffs or be refused, and sessions would seem to have expired.
func (m *Manager) clock() error {
	_, err := m.clockOff()
	return err
}

// clockOff is clock that also says by how many milliseconds this clock is ahead.
func (m *Manager) clockOff() (ahead int64, err error) {
	now := m.now()
	off := m.cfg.Revocations.ClockOff(now)
	if off == 0 {
		return 0, nil
	}
	if last := m.clockTold.Load(); (last == 0 || now.Mono-last > int64(time.Minute)) && m.clockTold.CompareAndSwap(last, now.Mono) {
		m.log.Error("refresh: this process's clock is off, by the bus's: no session is refreshed or begun until it is set", "ahead", off.Round(time.Millisecond))
	}
	return off.Milliseconds(), fmt.Errorf("%w: this process's is %s ahead of the bus's", errClock, off.Round(time.Millisecond))
}
