// Package benchmarks measures our speed beside a comparison, in one run:
//
//	go test -run '^$' -bench . -count 8 ./benchmarks
//
// Absolute times say little on a shared machine. Compare the lines of one run with
// each other, and only if the spread over its rounds is smaller than the difference.
package benchmarks
