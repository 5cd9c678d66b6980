// Package scripted is for tests of package bus and of what stands behind it: a server that
// answers as a test says, over pipes, so that it goes by a test's fake clock, in which hours
// pass at once.
package scripted
