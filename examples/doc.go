// Package examples holds programs to read and to run, each in a folder of its own.
// Start with quickstart:
//
//	go run ./examples/quickstart
//
// Package auth is sessions in a browser:
//
//	go run ./examples/auth
package examples
