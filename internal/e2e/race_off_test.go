//go:build !race

package e2e_test

// raceEnabled tells whether the race detector is at work, which makes everything slow.
const raceEnabled = false
