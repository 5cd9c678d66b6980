// Package accounts tests what rights are needed and what they prevent: the configurations
// in examples/nats, loaded as they are and attacked.
package accounts
