// Package normalday tests what happens to a service on an ordinary day: restarts, upgrades,
// clocks that are off, machines that sleep, streams that are full.
package normalday
