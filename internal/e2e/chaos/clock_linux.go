package main

import (
	"syscall"
	"time"
	"unsafe"
)

const clockName = "CLOCK_MONOTONIC"

// bootClock reads CLOCK_MONOTONIC, which is one clock for all processes of a
// machine, and the one that the monotonic part of time.Now comes from.
func bootClock() int64 {
	const monotonic = 1
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return time.Now().UnixNano()
	}
	return ts.Nano()
}
