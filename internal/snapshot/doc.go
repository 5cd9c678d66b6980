// Package snapshot holds the bytes of a snapshot, the format of which bus/SNAPSHOT.md will specify: what a
// replica held at one place of the log, so that another need not read the log from its
// start. State files are snapshots too.
//
// A snapshot is a signed [Manifest] and two parts, whose sizes and SHA-256 it names, so
// that each is loaded for itself: the exact entries, and a filter of them for replicas that
// hold no more. Nothing of a part may be used before its reader has returned nil. What is
// refused is an [*Error].
//
// This package knows no List and no bus: entries are numbers to it.
package snapshot
