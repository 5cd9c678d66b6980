// Package migrate holds the code of the pages docs/migrate-from-….md: in each folder of internal what a service did
// before and what it does after. The tests run both side by side, and hold the pages to
// this code.
package migrate
