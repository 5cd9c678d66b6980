// Package examples holds programs to read and to run, each in a folder of its own.
//
// Package demo is a whole system with a page to look at and to break:
//
//	go run ./examples/demo
//
// To read, start with quickstart:
//
//	go run ./examples/quickstart
//
// Package auth is sessions in a browser:
//
//	go run ./examples/auth
//
// Package microservices is processes that are killed, and package grpc calls and open streams that
// end with a session:
//
//	go run ./examples/microservices -once
//	go run ./examples/grpc -once
//
// Package worker is a queue of jobs that are judged again before they are done:
//
//	go run ./examples/worker -once
//
// Package other-languages is a publisher and followers that are not in Go:
//
//	go run ./examples/other-languages -once
//
// Package gateway verifies once and passes the identity on, beside nginx and caddy, and package
// foreign-issuer accepts the tokens of a provider that is not ours:
//
//	go run ./examples/gateway -once
//	go run ./examples/foreign-issuer -once
package examples
