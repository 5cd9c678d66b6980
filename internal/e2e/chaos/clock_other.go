//go:build !linux

package main

import "time"

const clockName = "the wall clock, which nobody may set during the run"

func bootClock() int64 { return time.Now().UnixNano() }
