// Package browser drives a real Chromium for tests of what only a browser decides: which
// cookies it sends where, what it does with an answer's headers, what a page of another site
// can reach, what the Back button shows.
//
// [Start] gives a test a [Browser] of its own, and https servers for the host names that it
// names. A [Profile] is somebody's browser, with cookies of its own; a [Tab] is a page of it.
// What waits, waits for a condition, with a deadline of [Patience]. When the test ends the
// browser ends, with all its processes, or the test fails.
//
// Where no Chromium is installed the tests skip themselves, see internal/gate.
package browser
