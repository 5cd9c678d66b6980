// Package wire is what members of the bus say to each other, byte for byte: events,
// heartbeats with their digests, questions and answers of roll calls, their subjects, and
// the signatures of what must carry one. WIRE.md, beside package bus, is the contract.
//
// It knows no connection. What comes from outside is bounded, read strictly, and either
// understood or refused with the fault that says why.
package wire
