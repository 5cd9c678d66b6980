// Package embedded runs a NATS server with JetStream inside this process.
package embedded
