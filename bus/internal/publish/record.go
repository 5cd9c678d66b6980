package publish

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

// A record is one event, ready to be sent as often as it takes.
type record struct {
	subject string
	payload []byte
	gone    time.Time // when every replica has let go of it
	limit   int       // percent of MaxBytes, see limitSingle

	signature string // see SignatureHeader; empty: none
	fixed     bool   // it was found in the outbox, signed by nobody known: not to be signed by us
	open      bool   // cutoff and life, where the event names none, the stream's retention is to say, which nobody knew yet; see completeEarly
	early     bool   // it was prepared so
	id        string // in the outbox; empty: not there

	// Owned by the ledger, under its lock.
	era    uint64    // in which it was last acknowledged; 0 for never
	seq    uint64    // of the stream, as then acknowledged
	kept   bool      // among the living
	lapsed bool      // it was counted that it expired before it was acknowledged
	ends   int       // links that were ended while it was under way
	aside  time.Time // until then it is not tried in the background
	at     int       // where among them
}

// size is about what the record takes on the server's disk, headers included.
func (r *record) size() int64 {
	return int64(len(r.subject) + len(r.payload) + len(r.signature) + recordOverhead)
}

const recordOverhead = 256

// messageID is a hash that nobody can guess: a server drops a message whose id it
// has seen, so who knows the id in advance could suppress a revocation.
func messageID(rec *record) string {
	h := sha256.New()
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	h.Write(nonce[:])
	h.Write([]byte(rec.subject))
	h.Write(rec.payload)
	return hex.EncodeToString(h.Sum(nil))
}

// ttl rounds up to whole seconds, the server's unit, which it would round down to. A
// message that stops to count in digests hours before it expires lives longer by as much,
// and by that of the longer life where it counts by another grain for it.
func ttl(d time.Duration) time.Duration {
	d = max((d + time.Second - 1).Truncate(time.Second), time.Second)
	least := replica.DigestGrain(0)
	grain := replica.DigestGrain(d + replica.DigestGrain(d) - least)
	return d + grain - least
}

// memory is about what the record takes here.
func (r *record) memory() int64 { return int64(len(r.subject)+len(r.payload)+len(r.signature)) + 160 }

// stored is a copy of what the file holds: the record itself changes under other locks.
func (r *record) stored() *record {
	return &record{subject: r.subject, payload: r.payload, signature: r.signature, gone: r.gone, id: r.id, seq: r.seq, open: r.open}
}
