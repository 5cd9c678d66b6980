package revoke

import "fmt"

// A Fault says why a message of the log was not applied. Faults are counted, never
// fatal: one stray message must not stop a company.
type Fault uint8

const (
	FaultMalformed Fault = iota + 1 // no JSON, or version, issuer, kind or value missing, ambiguous or impossible
	FaultOversized                  // larger than any event may be
	FaultVersion                    // a version of the protocol to come
	FaultKind                       // a kind of event to come
	FaultSubject                    // issuer or kind differ from those of the subject
	FaultCritical                   // not understood, and marked critical: not fresh for a TokenLifetime
	FaultUnsigned                   // signature missing or wrong where one is asked for

	faults = int(FaultUnsigned) + 1
)

var faultNames = [faults]string{
	FaultMalformed: "malformed", FaultOversized: "oversized", FaultVersion: "unknown version", FaultKind: "unknown kind",
	FaultSubject: "not of its subject", FaultCritical: "unsupported critical event", FaultUnsigned: "unsigned",
}

func (f Fault) String() string {
	if int(f) < faults && f != 0 {
		return faultNames[f]
	}
	return fmt.Sprintf("Fault(%d)", uint8(f))
}
