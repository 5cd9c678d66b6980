package main

import "testing"

// The program runs; it judges nothing here.
func TestRun(t *testing.T) {
	if err := run(4, 200, 1); err != nil {
		t.Fatal(err)
	}
}
