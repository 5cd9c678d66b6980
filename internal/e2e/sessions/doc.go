// Package sessions tests sessions and keyrings in JetStream buckets, on one server and on
// clusters, in one process and in several.
package sessions
