package wire

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

// A Question asks whether one message of the log is applied. The sequence alone would
// not name it: a log made anew counts from one again.
type Question struct {
	Sequence uint64
	Digest   [32]byte      // see RecordDigest
	Wait     time.Duration // how long the answer is of interest
}

// What a replica says about the message of a question.
const (
	OutcomeApplied = "applied"
	OutcomeWaiting = "waiting" // not there yet
	OutcomeIgnored = "ignored" // seen and not understood, or not trusted
	OutcomeOther   = "other"   // the log holds another message there, or none
	OutcomePast    = "past"    // applied too long ago to know which message it was
	OutcomeGone    = "gone"    // the replica is being closed
)

// An Answer is what a replica says about one message, and about itself.
type Answer struct {
	ID, Name  string
	Outcome   string
	At        time.Time // when it was applied; zero if it was not
	Staleness time.Duration
	State     revoke.State
}

func EncodeQuestion(q Question) []byte {
	b := append(make([]byte, 0, 160), `{"v":1,"seq":`...)
	b = strconv.AppendUint(b, q.Sequence, 10)
	b = append(b, `,"digest":"`...)
	b = hex.AppendEncode(b, q.Digest[:])
	b = append(b, `","wait":`...)
	b = strconv.AppendInt(b, q.Wait.Milliseconds(), 10)
	return append(b, '}')
}

func DecodeQuestion(data []byte) (q Question, ok bool) {
	if len(data) > maxQuestionBytes {
		return Question{}, false
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
		return Question{}, false
	}
	version, ok1 := v.Int()
	n, ok2 := seq.Int()
	digits, ok3 := digest.Text()
	ms, ok4 := wait.Int()
	if !ok1 || !ok2 || !ok3 || !ok4 || version != wireVersion || n < 1 || ms < 0 || len(digits) != hex.EncodedLen(len(q.Digest)) {
		return Question{}, false
	}
	if _, err := hex.Decode(q.Digest[:], []byte(digits)); err != nil {
		return Question{}, false
	}
	q.Sequence = uint64(n)
	q.Wait = time.Duration(min(ms, maxAnswerWait.Milliseconds())) * time.Millisecond
	return q, true
}

func EncodeAnswer(a Answer) ([]byte, error) {
	w := writer{buf: append(make([]byte, 0, 192), `{"v":1`...)}
	w.text("id", a.ID)
	w.text("name", a.Name)
	w.text("outcome", a.Outcome)
	w.millis("at", a.At)
	w.text("state", a.State.String())
	w.name("staleness")
	w.buf = strconv.AppendInt(w.buf, a.Staleness.Milliseconds(), 10)
	return w.end()
}

// DecodeAnswer reads what anyone may have sent. Whatever it returns is bounded and fit
// to be shown.
func DecodeAnswer(data []byte) (a Answer, ok bool) {
	if len(data) > maxAnswerBytes {
		return Answer{}, false
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
		return Answer{}, false
	}
	var status string
	ms, ok1 := staleness.Int()
	if !ok1 || ms < 0 || ms > revoke.MaxLifetime.Milliseconds() ||
		!text(id, &a.ID) || !text(name, &a.Name) || !text(outcome, &a.Outcome) || !text(state, &status) || !Instant(at, &a.At) ||
		!plainID(a.ID) {
		return Answer{}, false
	}
	switch a.Outcome {
	case OutcomeApplied, OutcomeWaiting, OutcomeIgnored, OutcomeOther, OutcomePast, OutcomeGone:
	default:
		return Answer{}, false
	}
	if a.Outcome == OutcomeApplied == a.At.IsZero() {
		return Answer{}, false
	}
	switch status {
	case revoke.StateSyncing.String():
		a.State = revoke.StateSyncing
	case revoke.StateFresh.String():
		a.State = revoke.StateFresh
	case revoke.StateStale.String():
		a.State = revoke.StateStale
	default:
		return Answer{}, false
	}
	a.Staleness = time.Duration(ms) * time.Millisecond
	a.Name = Printable(a.Name)
	return a, true
}

// IsInbox reports whether an answer may be sent there: never into a stream, anyone who
// asks for it. "_R_" is what servers write for an inbox in another account.
func IsInbox(reply string) bool {
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

// Printable returns s as it may go into a log or onto a screen: cut to the length of a
// name, without what moves cursors or hides text.
func Printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	for len(s) > MaxNameBytes {
		_, n := utf8.DecodeLastRuneInString(s[:MaxNameBytes+1])
		s = s[:MaxNameBytes+1-n]
	}
	return s
}
