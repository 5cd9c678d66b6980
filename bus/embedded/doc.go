// Package embedded runs a NATS server with JetStream inside this process, with the
// stream of revocations made: for a laptop, a test, a demonstration, or a product
// that runs on a single node.
//
//	srv, err := embedded.Start(ctx, embedded.Config{Dir: "/var/lib/auth/bus"})
//	member, err := bus.Join(ctx, bus.Config{InProcess: srv, Issuers: []string{"https://auth.example.com"}})
//
// What else speaks NATS connects in process, too, with nats.InProcessServer(srv), such as
// the sessions of package refresh/natskv; their bucket is made with Replicas: 1.
//
// With a directory every acknowledged event is synced to disk. It is one replica on
// one disk all the same, and every service is blind while the process is down: a
// production system with more than one node runs a NATS cluster.
//
// The server has no authentication, hence accepts connections from inside the
// process and, if asked, from this machine, and refuses to listen to any other.
package embedded
