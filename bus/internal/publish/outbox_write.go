package publish

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"time"
)

// put has the records on disk before it returns; now is the time by which others have
// expired. An error keeps nobody from publishing: it is reported, and what is published
// counts.
func (o *outbox) put(now time.Time, recs ...*record) error {
	var lines []byte
	for _, rec := range recs {
		rec.id = rand.Text()
		lines = append(lines, encodeOutboxEntry(entryOf(rec))...)
	}
	o.mu.Lock()
	if o.file == nil {
		err := o.err
		if err == nil {
			err = os.ErrClosed
		}
		o.failed++
		o.mu.Unlock()
		for _, rec := range recs {
			rec.id = "" // not there
		}
		return err
	}
	full := func() bool {
		return len(o.open)+len(recs) > maxRemembered || o.held+int64(len(lines)) > maxRememberedBytes
	}
	if full() {
		o.sweep(now)
	}
	if full() {
		o.failed++
		o.err = errOutboxFull
		o.mu.Unlock()
		for _, rec := range recs {
			rec.id = "" // not there
		}
		return errOutboxFull
	}
	for _, rec := range recs {
		o.hold(rec)
	}
	err := o.write(lines)
	o.turn++
	turn := o.turn
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.sync(turn)
}

// sync returns when the disk has all up to that turn. One writing to it serves all who
// wait, and so does one failure: the system tells of it once and calls the next good.
func (o *outbox) sync(turn int64) error {
	o.syncing.Lock()
	defer o.syncing.Unlock()
	switch {
	case turn <= o.unsynced:
		return o.syncErr
	case turn <= o.synced:
		return nil
	}
	o.mu.Lock()
	file := o.file
	turn = o.turn
	o.mu.Unlock()
	if file == nil {
		return os.ErrClosed
	}
	if err := o.syncFile(file); err != nil && !errors.Is(err, os.ErrClosed) { // closed: written anew, and synced
		o.mu.Lock()
		o.err = err
		o.failed++
		o.compactAt = 0 // the next acknowledgement has all of it written anew
		o.mu.Unlock()
		o.unsynced, o.syncErr = turn, err
		return err
	}
	o.synced = turn
	return nil
}

// sweep lets go of what was never acknowledged and has expired, now and then. The caller
// holds mu.
func (o *outbox) sweep(now time.Time) {
	if now.Sub(o.swept) < time.Second {
		return
	}
	o.swept = now
	for id, rec := range o.open {
		if !now.Before(rec.gone) {
			o.release(id)
		}
	}
}

// errOutboxFull: as many events wait for their acknowledgement as are remembered at all.
var errOutboxFull = errors.New("as many events as it takes are not acknowledged yet")

// hold and release keep account of what waits. The caller holds mu or has the outbox to
// itself.
func (o *outbox) hold(rec *record) {
	o.open[rec.id] = rec.stored()
	o.held += rec.memory()
}

func (o *outbox) release(id string) {
	if rec := o.open[id]; rec != nil {
		o.held -= rec.memory()
		delete(o.open, id)
	}
}

// write appends. The caller holds mu.
func (o *outbox) write(b []byte) error {
	if o.file == nil {
		return os.ErrClosed
	}
	if o.torn { // this line must not continue half of another
		b = append([]byte("\n"), b...)
	}
	err := error(errOutboxFull)
	if o.written+int64(len(b)) <= maxOutboxBytes { // nobody would read more
		var n int
		n, err = o.file.Write(b)
		o.written += int64(n)
		o.torn = err != nil
	}
	if err != nil {
		o.failed++
	}
	o.err = err
	return err
}

// settled takes note that a record was acknowledged in that era, or, with a sequence of
// zero, that it never will be.
func (o *outbox) settled(rec *record, seq, era uint64) error {
	if rec.id == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq != 0 && era < o.era {
		return nil // the stream has lost it meanwhile, and lost has been written
	}
	e := &outboxEntry{op: "ack", id: rec.id, seq: seq}
	switch filed := o.open[rec.id]; {
	case seq == 0:
		e.op = "drop"
	case filed == nil || !bytes.Equal(filed.payload, rec.payload):
		// It was published with another time than stands in the file: what the stream
		// holds must be known to the byte, or it would seem lost.
		e = entryOf(rec)
		e.seq = seq
	}
	o.release(rec.id)
	if err := o.write(encodeOutboxEntry(e)); err != nil || o.written < o.compactAt {
		return err
	}
	if err := o.rewrite(o.alive()); err != nil {
		o.failed++
		o.err = err
		o.compactAt = o.written + compactAfter // it is long work: not for each event
		return err
	}
	return nil
}

// lost takes note that the stream has lost what was acknowledged before that era. Until all
// is published again, a process that ends must leave the rest to the next.
func (o *outbox) lost(era uint64) error {
	o.mu.Lock()
	o.era = max(o.era, era)
	err := o.write(encodeOutboxEntry(&outboxEntry{op: "lost", id: "-"}))
	o.turn++
	turn := o.turn
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.sync(turn)
}
