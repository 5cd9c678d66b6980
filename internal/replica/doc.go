// Package replica is what the packages of this module need of a revoke.List and its users
// do not: a [Feed] keeps one in step with a log, a [Prepared] checks one token many times,
// [Valid] and [Received] are events that were judged.
package replica
