// Package publish tests what becomes of an event that is published: acknowledged, refused,
// kept in the outbox, or given back to a stream that has lost it.
package publish
