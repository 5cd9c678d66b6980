//go:build unix

package measure

import (
	"syscall"
	"time"
)

// Processor is the processor time that this process has used so far, on all cores.
// Unlike the clock it does not run while others have the machine.
func Processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
