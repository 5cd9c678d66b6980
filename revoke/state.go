package revoke

import "time"

// A State says whether a replica can vouch for what it does not list.
type State uint8

const (
	// StateSyncing: nothing has been proven yet.
	StateSyncing State = iota
	// StateFresh: proven up to date within MaxStaleness.
	StateFresh
	// StateStale: was fresh, and the proof has grown too old or is withheld.
	StateStale
)

func (s State) String() string {
	switch s {
	case StateSyncing:
		return "syncing"
	case StateFresh:
		return "fresh"
	case StateStale:
		return "stale"
	}
	return "invalid"
}

// A Reason says why a replica is not fresh.
type Reason uint8

const (
	ReasonNone         Reason = iota
	ReasonNotFollowed         // no bus feeds this List
	ReasonConnecting          // the first connection is not up yet
	ReasonDisconnected        // the connection is down
	ReasonNoStream            // the stream does not exist (yet)
	ReasonReplaying           // reading the log from its start
	ReasonRebuilding          // the log is not the one that was applied, or a gap was seen
	ReasonNoHeartbeat         // connected, but nothing proves that the log is current
	ReasonClockSkew           // only heartbeats whose clocks disagree with ours arrive
	ReasonRetention           // the stream keeps events for a shorter time than our tokens live
	ReasonCritical            // an event marked critical is not understood by this version
	ReasonClosed              // the follower or its connection was closed
	ReasonBadStream           // the stream's configuration cannot be read or would forget
	ReasonNotPermitted        // the server refuses what following needs
	ReasonFork                // the log is not the one that others read, as behind a mirror whose origin was made anew or restored
	ReasonMaxSkew             // the stream was made for another MaxSkew than ours
)

var reasonNames = [...]string{
	ReasonNone: "none", ReasonNotFollowed: "not followed", ReasonConnecting: "connecting",
	ReasonDisconnected: "disconnected", ReasonNoStream: "no stream", ReasonReplaying: "replaying",
	ReasonRebuilding: "rebuilding", ReasonNoHeartbeat: "no heartbeat", ReasonClockSkew: "clock skew",
	ReasonRetention: "retention", ReasonCritical: "unsupported critical event", ReasonClosed: "closed",
	ReasonBadStream: "bad stream", ReasonNotPermitted: "not permitted", ReasonFork: "fork",
	ReasonMaxSkew: "max skew",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// A Status is what a [List] knows about its own freshness at one moment.
type Status struct {
	State    State
	Reason   Reason        // [ReasonNone] while fresh
	Proven   Instant       // every event acknowledged before this instant is applied; zero: none is proven
	Age      time.Duration // from Proven to the moment asked about; negative if nothing is proven
	Degraded bool          // something on the log was not understood, or not all of it, or named a misspelt issuer; see [Stats]
}
