// Package e2e tests what nats-servers of several versions do. The packages below it test what
// this repository makes of them, each a part, on the servers of package rig.
package e2e
