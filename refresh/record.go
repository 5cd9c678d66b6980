package refresh

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token"
)

// Records are JSON, so that a person can read them. Members that this version does not know
// are kept, see [unknown]; a record of another version number is left alone.
const recordVersion = 1

const (
	maxSteps = 16 // generations remembered within the grace window

	// maxMillis is in the year 2527: sums of two times and a lifetime do not overflow.
	maxMillis = 1 << 44

	// keepRecord is how long the store keeps a record that is of no use any more, for
	// clocks that differ.
	keepRecord = 5 * time.Minute
)

// A session is what the store holds of one session. Times are unix milliseconds.
type session struct {
	V        int             `json:"v"`
	SID      string          `json:"sid"`
	Subject  string          `json:"sub"`
	Client   string          `json:"client"`
	Tenant   string          `json:"tenant,omitempty"`
	Audience []string        `json:"aud"`
	Scope    []string        `json:"scope,omitempty"`
	AuthTime int64           `json:"auth_time"`
	ACR      string          `json:"acr,omitempty"`
	AMR      []string        `json:"amr,omitempty"`
	JKT      string          `json:"jkt,omitempty"` // see [token.Binding]
	X5T      string          `json:"x5t,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	Label    string          `json:"label,omitempty"` // see [Device]
	Address  string          `json:"address,omitempty"`

	Start  int64 `json:"start"`  // hyt_at of the login's token: no token of the session has an earlier one
	Until  int64 `json:"until"`  // the absolute limit
	Used   int64 `json:"used"`   // last refresh, or the login
	Issued int64 `json:"issued"` // the largest hyt_at of any of its tokens

	Family     []byte `json:"family"`               // hash of the family secret
	Generation uint64 `json:"generation"`           // counts rotations
	Current    []byte `json:"current"`              // hash of the generation secret
	ExactFrom  uint64 `json:"exact_from,omitempty"` // the first generation whose token has a check; 1: all have; 0: none has
	Steps      []step `json:"steps,omitempty"`

	// The predecessor of the current generation, and when it was used up. Empty: none, or
	// not known.
	Last           []byte `json:"last,omitempty"` // its hash
	LastGeneration uint64 `json:"last_generation,omitempty"`
	LastAt         int64  `json:"last_at,omitempty"`

	Late   int    `json:"late,omitempty"`    // late retries that were answered
	LateAt int64  `json:"late_at,omitempty"` // the latest of them
	Held   []span `json:"held,omitempty"`    // when retries in the window could not be answered

	// The family before the Manager gave out a new one by itself, and until when who
	// holds one of its tokens is told to try again.
	Former      []byte `json:"former,omitempty"`
	FormerUntil int64  `json:"former_until,omitempty"`

	// The key of its device, see bound.go. It is named in Must: who does not know it would let
	// a refresh token do.
	Offer      []byte `json:"offer,omitempty"` // to bind it: the hash of the authorization
	OfferUntil int64  `json:"offer_until,omitempty"`
	BoundKey   []byte `json:"bound_key,omitempty"`  // PKIX
	BoundSalt  []byte `json:"bound_salt,omitempty"` // empty: it is not bound
	BoundMark  []byte `json:"bound_mark,omitempty"` // another after each use
	BoundAt    int64  `json:"bound_at,omitempty"`

	Ended   int64  `json:"ended,omitempty"` // zero while it lives
	Reason  string `json:"reason,omitempty"`
	Actor   string `json:"actor,omitempty"`
	Pending bool   `json:"pending,omitempty"` // the event that says so is not yet published

	unknown
	place
}

// A step is a generation that was used up and is still within its window.
type step struct {
	Hash       []byte `json:"hash"`
	Generation uint64 `json:"generation"`
	Seal       []byte `json:"seal,omitempty"` // the successor
	Until      int64  `json:"until"`
	Answers    int    `json:"answers,omitempty"` // of versions up to 601627d, which counted them

	unknown
}

// A subject is what the store holds of one subject.
type subject struct {
	V      int    `json:"v"`
	Live   []live `json:"live,omitempty"`   // sessions, oldest first
	Cutoff int64  `json:"cutoff,omitempty"` // sessions authenticated until then are over

	// What LogoutAll has still to do. Op is empty when there is nothing.
	Op     string   `json:"op,omitempty"`
	At     int64    `json:"at,omitempty"`
	Keep   []string `json:"keep,omitempty"`
	Ending []live   `json:"ending,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Actor  string   `json:"actor,omitempty"`
	Forget string   `json:"forget,omitempty"` // the Op, if that forgets of whom its sessions were

	unknown
	place
}

// A live is a session in the subject's list.
type live struct {
	SID   string `json:"s"`
	Until int64  `json:"u"` // its absolute limit

	unknown
}

func (s *subject) has(sid string) bool {
	for _, l := range s.Live {
		if l.SID == sid {
			return true
		}
	}
	return false
}

func (s *subject) ending(sid string) bool {
	for _, l := range s.Ending {
		if l.SID == sid {
			return true
		}
	}
	return false
}

// recordKey is where a record is kept. Issuers may share a store.
func recordKey(kind, issuer, value string) string {
	h := sha256.New()
	for _, s := range []string{kind, issuer, value} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
		h.Write([]byte(s))
	}
	return kind + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func encodeRecord(r any) ([]byte, error) {
	b, err := json.Marshal(r)
	if err == nil && len(b) > recordstore.MaxValueBytes {
		err = fmt.Errorf("record of %d bytes, more than %d", len(b), recordstore.MaxValueBytes)
	}
	return b, err
}

func decodeRecord(data []byte, r interface {
	json.Unmarshaler
	bytes() int
}) error {
	if len(data) > recordstore.MaxValueBytes {
		return fmt.Errorf("record of %d bytes, more than %d", len(data), recordstore.MaxValueBytes)
	}
	version := int64(0)
	if err := strictjson.Object(data, func(name string, v strictjson.Value) error {
		if name == "v" {
			version, _ = v.Int()
		}
		return nil
	}); err != nil {
		return err
	}
	if version != recordVersion {
		return fmt.Errorf("record of version %d, this program knows %d", version, recordVersion)
	}
	if err := r.UnmarshalJSON(data); err != nil {
		return err
	}
	if n := r.bytes(); n > maxUnknownBytes {
		return fmt.Errorf("record with %d bytes that this version does not know, more than %d", n, maxUnknownBytes)
	}
	return nil
}

func decodeSession(data []byte, sid string) (*session, error) {
	s := new(session)
	if err := decodeRecord(data, s); err != nil {
		return nil, err
	}
	if s.SID != sid {
		return nil, errors.New("record of another session")
	}
	times := []int64{s.AuthTime, s.Start, s.Until, s.Used, s.Issued, s.Ended, s.FormerUntil, s.OfferUntil, s.BoundAt}
	bad := len(s.Steps) > maxSteps || len(s.Former) != 0 && len(s.Former) != len(digest{})
	if s.Ended == 0 { // of one that was ended before it was ever read, nothing else is known
		bad = bad || len(s.Family) != len(digest{}) || len(s.Current) != len(digest{}) || s.Subject == "" || s.Client == "" || len(s.Audience) == 0
	}
	bad = bad || len(s.Offer) != 0 && len(s.Offer) != len(digest{}) || s.bound() && len(s.BoundSalt) != len(secret{})
	if s.Ended == 0 {
		bad = bad || s.bound() != (len(s.BoundKey) > 0) || len(s.BoundKey) > maxBoundKey || s.bound() && len(s.BoundMark) != markBytes
	}
	bad = bad || s.Late < 0 || len(s.Held) > maxSpans
	times = append(times, s.LateAt, s.LastAt)
	for _, x := range s.Held {
		times = append(times, x.from(), x.to())
		bad = bad || x.to() < x.from()
	}
	bad = bad || len(s.Last) != 0 && (len(s.Last) != len(digest{}) || s.LastGeneration >= s.Generation)
	for i := range s.Steps {
		p := &s.Steps[i]
		times = append(times, p.Until)
		bad = bad || len(p.Hash) != len(digest{}) || len(p.Seal) != 0 && len(p.Seal) != sealBytes || p.Answers < 0 || p.Generation >= s.Generation
	}
	for _, t := range times {
		bad = bad || t < 0 || t > maxMillis
	}
	if bad {
		return nil, errors.New("record of a session that cannot be")
	}
	return s, nil
}

func decodeSubject(data []byte) (*subject, error) {
	s := new(subject)
	if err := decodeRecord(data, s); err != nil {
		return nil, err
	}
	bad := s.Cutoff < 0 || s.Cutoff > maxMillis || s.At < 0 || s.At > maxMillis || s.Op == "" && (len(s.Ending) > 0 || len(s.Keep) > 0) ||
		len(s.Live) > maxSessions || len(s.Ending) > maxSessions
	for _, x := range s.kept {
		bad = bad || x.name == "sid" // it is a session's
	}
	for _, list := range [][]live{s.Live, s.Ending} {
		for _, l := range list {
			_, ok := parseSID(l.SID)
			bad = bad || !ok || l.Until < 0 || l.Until > maxMillis
		}
	}
	if bad {
		return nil, errors.New("record of a subject that cannot be")
	}
	return s, nil
}

func (s *session) binding() token.Binding {
	return token.Binding{KeyThumbprint: s.JKT, CertificateThumbprint: s.X5T}
}

// misspelt reports whether the token of that generation was presented without its check.
func (s *session) misspelt(p *presented, generation uint64) bool {
	return !p.exact && s.ExactFrom != 0 && generation >= s.ExactFrom
}

// spell writes the token of the present generation as it was first given out.
func (s *session) spell(p *presented) string {
	if s.ExactFrom != 0 && s.Generation >= s.ExactFrom {
		return p.encode()
	}
	return p.encodeIssued(s.Used)
}

// nextGeneration counts a rotation, whose token has a check.
func (s *session) nextGeneration(current digest) {
	s.Current = current[:]
	s.Generation++
	if s.ExactFrom == 0 { // begun by an earlier version, with generation 0
		s.Generation = max(s.Generation, 2)
		s.ExactFrom = s.Generation
	}
}

// deadline is when the session is over unless it is refreshed, and why.
func (s *session) deadline(l *Lifetimes) (at int64, idle bool) {
	at = min(s.Until, s.Start+l.Absolute.Milliseconds())
	if i := s.Used + l.Idle.Milliseconds(); i < at {
		return i, true
	}
	return at, false
}

// cutWindows cuts windows that end later than any clock within MaxSkew of ours has set: no
// theft would be found in them, and they would leave no room for others.
func (s *session) cutWindows(now, grace, skew int64) {
	far := 0
	for i := range s.Steps {
		if p := &s.Steps[i]; p.Until > now+grace+skew {
			p.Until = now + grace
			far++
		}
	}
	if far > maxSteps/2 {
		s.Steps = s.Steps[far-maxSteps/2:]
	}
}

// end returns the record of s once it is over, however it ends. While the services are
// still to be told, it also says what the application is told of it, and whose its tokens
// were.
func (s *session) end(now int64, reason, actor string, pending bool) *session {
	over := s.remains()
	over.Ended, over.Reason, over.Actor, over.Pending = max(now, 1), reason, actor, pending
	if pending {
		over.Client, over.Tenant, over.Scope, over.Label, over.Address = s.Client, s.Tenant, s.Scope, s.Label, s.Address
		over.AuthTime, over.ACR, over.AMR = s.AuthTime, s.ACR, s.AMR
	}
	return over
}

// remains is what the store keeps of a session that is over and told of. Of its secrets'
// hashes it needs the family's, by which its tokens are known, and of a bound one the salt,
// by which its browser's name for it is.
func (s *session) remains() *session {
	return &session{
		V: s.V, SID: s.SID, Subject: s.Subject, Start: s.Start, Until: s.Until, Used: s.Used, Issued: s.Issued,
		Family: s.Family, Generation: s.Generation, ExactFrom: s.ExactFrom, BoundSalt: s.BoundSalt, Ended: s.Ended, Reason: s.Reason, Actor: s.Actor,
		unknown: s.must(), place: s.place,
	}
}

// clone returns a copy whose lists of steps and spans may be changed.
func (s *session) clone() *session {
	c := *s
	c.Steps = append([]step(nil), s.Steps...)
	c.Held = append([]span(nil), s.Held...)
	return &c
}
