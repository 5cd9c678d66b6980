// Package benchmarks measures our speed beside a comparison, in one run:
//
//	go test -run '^$' -bench . -count 8 ./benchmarks
//
// Absolute times say little on a shared machine. Compare the lines of one run with
// each other, and only if the spread over its rounds is smaller than the difference.
//
// The program in report measures everything beside what one would use instead, holds it
// to the budgets, and writes a report with plots:
//
//	go run ./benchmarks/report -quick
//
// The program in chaos measures nothing but what fails: it holds the guarantee of the
// denylist against a real cluster whose servers and members are killed, frozen, cut
// off and rolled back. ACCOUNT.md there is the account of a run of ten minutes.
package benchmarks
