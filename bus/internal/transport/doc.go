// Package transport is what the halves of a bus.Member stand on: a connection to NATS that is
// dialled again for ever, one stream that is read over it, and the life that ends with Close.
//
// It knows no events. [Dial] and [Use] make a connection, [New] a transport; who uses that is
// let in by [Transport.Enter] or [Transport.Call], and waited for by [Transport.Close].
package transport
