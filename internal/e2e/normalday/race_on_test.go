//go:build race

package normalday_test

// raceEnabled tells whether the race detector is at work, which makes everything slow.
const raceEnabled = true
