package bus

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// AppliedSubject is where replicas are asked, outside of any stream, whether they have
// applied a message.
const AppliedSubject = "hybridtoken.v1.applied"

const (
	maxQuestionBytes = 512
	maxAnswerBytes   = 2 << 10
	maxReplicaID     = 64
	maxReplyBytes    = 256

	maxAnswerWait = 30 * time.Second // for a message that is not there yet
)

// A question asks whether one message of the log is applied. The sequence alone would
// not name it: a log made anew counts from one again.
type question struct {
	sequence uint64
	digest   [32]byte      // see recordDigest
	wait     time.Duration // how long the answer is of interest
}

// Outcomes of a question, as answers name them.
const (
	outcomeApplied = "applied"
	outcomeWaiting = "waiting" // not there yet
	outcomeIgnored = "ignored" // seen and not understood, or not trusted
	outcomeOther   = "other"   // the log holds another message there, or none
	outcomePast    = "past"    // applied too long ago to know which message it was
	outcomeGone    = "gone"    // the replica is being closed
)

// An answer is what a replica says about one message, and about itself.
type answer struct {
	id, name  string
	outcome   string
	at        time.Time // when it was applied; zero if it was not
	staleness time.Duration
	state     revoke.State
}

func encodeQuestion(q question) []byte {
	b := append(make([]byte, 0, 160), `{"v":1,"seq":`...)
	b = strconv.AppendUint(b, q.sequence, 10)
	b = append(b, `,"digest":"`...)
	b = hex.AppendEncode(b, q.digest[:])
	b = append(b, `","wait":`...)
	b = strconv.AppendInt(b, q.wait.Milliseconds(), 10)
	return append(b, '}')
}

func decodeQuestion(data []byte) (q question, ok bool) {
	if len(data) > maxQuestionBytes {
		return question{}, false
	}
	var v, seq, digest, wait strictjson.Value
	err := strictjson.Object(data, func(name string, value strictjson.Value) error {
		switch name {
		case "v":
			v = value
		case "seq":
			seq = value
		case "digest":
			digest = value
		case "wait":
			wait = value
		}
		return nil
	})
	if err != nil {
		return question{}, false
	}
	version, ok1 := v.Int()
	n, ok2 := seq.Int()
	digits, ok3 := digest.Text()
	ms, ok4 := wait.Int()
	if !ok1 || !ok2 || !ok3 || !ok4 || version != wireVersion || n < 1 || ms < 0 || len(digits) != hex.EncodedLen(len(q.digest)) {
		return question{}, false
	}
	if _, err := hex.Decode(q.digest[:], []byte(digits)); err != nil {
		return question{}, false
	}
	q.sequence = uint64(n)
	q.wait = time.Duration(min(ms, maxAnswerWait.Milliseconds())) * time.Millisecond
	return q, true
}

func encodeAnswer(a answer) ([]byte, error) {
	w := writer{buf: append(make([]byte, 0, 192), `{"v":1`...)}
	w.text("id", a.id)
	w.text("name", a.name)
	w.text("outcome", a.outcome)
	w.millis("at", a.at)
	w.text("state", a.state.String())
	w.name("staleness")
	w.buf = strconv.AppendInt(w.buf, a.staleness.Milliseconds(), 10)
	return w.end()
}

// decodeAnswer reads what anyone may have sent. Whatever it returns is bounded and fit
// to be shown.
func decodeAnswer(data []byte) (a answer, ok bool) {
	if len(data) > maxAnswerBytes {
		return answer{}, false
	}
	var v, id, name, outcome, at, state, staleness strictjson.Value
	err := strictjson.Object(data, func(member string, value strictjson.Value) error {
		switch member {
		case "v":
			v = value
		case "id":
			id = value
		case "name":
			name = value
		case "outcome":
			outcome = value
		case "at":
			at = value
		case "state":
			state = value
		case "staleness":
			staleness = value
		}
		return nil
	})
	version, ok1 := v.Int()
	if err != nil || !ok1 || version != wireVersion {
		return answer{}, false
	}
	var status string
	ms, ok1 := staleness.Int()
	if !ok1 || ms < 0 || ms > revoke.MaxLifetime.Milliseconds() ||
		!text(id, &a.id) || !text(name, &a.name) || !text(outcome, &a.outcome) || !text(state, &status) || !instant(at, &a.at) ||
		!plainID(a.id) {
		return answer{}, false
	}
	switch a.outcome {
	case outcomeApplied, outcomeWaiting, outcomeIgnored, outcomeOther, outcomePast, outcomeGone:
	default:
		return answer{}, false
	}
	if a.outcome == outcomeApplied == a.at.IsZero() {
		return answer{}, false
	}
	switch status {
	case revoke.StateSyncing.String():
		a.state = revoke.StateSyncing
	case revoke.StateFresh.String():
		a.state = revoke.StateFresh
	case revoke.StateStale.String():
		a.state = revoke.StateStale
	default:
		return answer{}, false
	}
	a.staleness = time.Duration(ms) * time.Millisecond
	a.name = printable(a.name)
	return a, true
}

// isInbox reports whether an answer may be sent there: never into a stream, anyone who
// asks for it. "_R_" is what servers write for an inbox in another account.
func isInbox(reply string) bool {
	return len(reply) <= maxReplyBytes && (strings.HasPrefix(reply, "_INBOX") || strings.HasPrefix(reply, "_R_.")) &&
		strings.Contains(reply, ".") && !strings.ContainsAny(reply, "*> \t\r\n")
}

func plainID(s string) bool {
	if s == "" || len(s) > maxReplicaID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') {
			return false
		}
	}
	return true
}

// printable returns s as it may go into a log or onto a screen: cut to the length of a
// name, without what moves cursors or hides text.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	for len(s) > maxNameBytes {
		_, n := utf8.DecodeLastRuneInString(s[:maxNameBytes+1])
		s = s[:maxNameBytes+1-n]
	}
	return s
}
