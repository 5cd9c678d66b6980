package revoketest

import "github.com/hybridtoken/hybridtoken/revoke"

// A mirror copies the log by position alone, as JetStream's mirrors do: it takes the
// messages whose numbers are above its own last, and never asks whether what it has is
// still what the log holds.
type mirror struct {
	log  []entry
	seq  uint64
	held bool
}

// take copies what is new.
func (m *mirror) take(log []entry) {
	if m == nil || m.held {
		return
	}
	for _, e := range log {
		if e.seq > m.seq {
			m.log = append(m.log, e)
			m.seq = e.seq
		}
	}
}

// JoinMirror adds a member that follows a mirror of the log, which is made at the first
// call.
func (b *Bus) JoinMirror(cfg revoke.Config) (*Member, error) {
	if b.mirror == nil {
		b.mirror = &mirror{}
		b.mirror.take(b.log)
	}
	m, err := b.Join(cfg)
	if err == nil {
		m.mirrored = true
	}
	return m, err
}

// HoldMirror cuts the mirror off from the log, or lets it go on.
func (b *Bus) HoldMirror(on bool) {
	if b.mirror != nil {
		b.mirror.held = on
	}
}

// RemakeMirror deletes the mirror and makes it anew, as an operator does after the log
// was made anew or restored.
func (b *Bus) RemakeMirror() {
	if b.mirror == nil {
		return
	}
	*b.mirror = mirror{}
	b.mirror.take(b.log)
	b.disconnect(true)
}
