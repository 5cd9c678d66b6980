package scripted

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
)

// Committed is an answer for TakeAll to give: that batch is stored, its last message there.
func Committed(batch []*nats.Msg, last int) string {
	return fmt.Sprintf(`{"stream":%q,"seq":%d,"batch":%q,"count":%d}`, stream.DefaultName, last, batch[0].Header.Get("Nats-Batch-Id"), len(batch))
}

// stage keeps a message of a batch until that is committed, as a server does: nothing of it
// is stored before. The caller holds mu.
func (s *Server) stage(m *nats.Msg) (answer string) {
	if !s.Info.Config.AllowAtomicPublish {
		return Refusal(10174, "atomic publish is disabled")
	}
	id := m.Header.Get("Nats-Batch-Id")
	batch := append(s.staged[id], m)
	if n, err := strconv.Atoi(m.Header.Get("Nats-Batch-Sequence")); err != nil || n != len(batch) {
		return Refusal(10176, "atomic publish batch is incomplete")
	}
	if s.staged == nil {
		s.staged = map[string][]*nats.Msg{}
	}
	if s.staged[id] = batch; m.Header.Get("Nats-Batch-Commit") == "" {
		return ""
	}
	delete(s.staged, id)
	if s.TakeAll != nil {
		return s.TakeAll(batch)
	}
	return s.StoreAll(batch)
}

// StoreAll appends a batch to the stream and returns the answer to it.
func (s *Server) StoreAll(batch []*nats.Msg) (answer string) {
	s.Events += len(batch)
	for _, m := range batch {
		s.Store(m)
	}
	return Committed(batch, int(s.Info.State.LastSeq))
}
