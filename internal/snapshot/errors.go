package snapshot

import (
	"errors"
	"fmt"
)

// A Fault says why a snapshot is refused.
type Fault uint8

const (
	Truncated       Fault = iota + 1 // it ends too early
	Damaged                          // its bytes are not those that its digest names
	Forged                           // it is not signed, or by no key that counts
	UnknownVersion                   // it is of a version to come, or is no snapshot
	Impossible                       // it holds what no writer writes: counts, sizes, an entry that no event makes
	OtherLog                         // it is of another log
	Outdated                         // more than it holds is known already
	OtherIdentities                  // its identities are made otherwise, or with too many keys
	Unreadable                       // its bytes could not be read at all

	// Faults is one more than the largest; arrays indexed by Fault have this length.
	Faults = int(iota) + 1
)

var faultNames = [Faults]string{
	Truncated: "cut short", Damaged: "damaged", Forged: "not signed by a key that counts", UnknownVersion: "unknown version",
	Impossible: "impossible", OtherLog: "of another log", Outdated: "outdated", OtherIdentities: "other identities", Unreadable: "unreadable",
}

func (f Fault) String() string {
	if int(f) < Faults && faultNames[f] != "" {
		return faultNames[f]
	}
	return "unknown"
}

// ErrRefused is matched by every [*Error].
var ErrRefused = errors.New("snapshot refused")

// An Error is why a snapshot is not used.
type Error struct {
	Fault  Fault
	Detail string // which of its parts, and how
	Cause  error  // of reading it; nil: none
}

func (e *Error) Error() string {
	text := "snapshot refused: " + e.Fault.String()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Is reports whether target is [ErrRefused].
func (e *Error) Is(target error) bool { return target == ErrRefused }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Refuse returns the error of a snapshot that has the fault.
func Refuse(f Fault, format string, args ...any) error {
	return &Error{Fault: f, Detail: fmt.Sprintf(format, args...)}
}

// FaultOf returns the fault that err, or one that it wraps, names; any other error is
// [Unreadable].
func FaultOf(err error) Fault {
	var e *Error
	if errors.As(err, &e) {
		return e.Fault
	}
	return Unreadable
}
