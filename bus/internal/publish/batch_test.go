package publish

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/revoke"
)

func sessionEvents(n int) []revoke.Event {
	list := make([]revoke.Event, n)
	for i := range list {
		list[i] = sessionEvent(i)
	}
	return list
}

// A remembering server stores each message id once, and says so, as nats-server does within
// its duplicate window.
type remembering struct {
	*scripted.Server
	at map[string]int // sequence by message id
}

func (r *remembering) take(_ int, m *nats.Msg) string {
	id := m.Header.Get(jetstream.MsgIDHeader)
	if seq := r.at[id]; seq != 0 {
		return fmt.Sprintf(`{"stream":"REVOCATIONS","seq":%d,"duplicate":true}`, seq)
	}
	r.at[id] = int(r.Store(m))
	return scripted.Stored(r.at[id])
}

func (r *remembering) takeAll(batch []*nats.Msg) string {
	for _, m := range batch {
		if r.at[m.Header.Get(jetstream.MsgIDHeader)] != 0 {
			return scripted.Refusal(jsadmin.CodeBatchHoldsSeen, "atomic publish batch contains duplicate message id")
		}
	}
	answer := r.StoreAll(batch)
	for i, m := range batch {
		r.at[m.Header.Get(jetstream.MsgIDHeader)] = int(r.Info.State.LastSeq) - len(batch) + 1 + i
	}
	return answer
}

func newRemembering(t *testing.T) (*remembering, *core) {
	t.Helper()
	s, b := newScripted(t, config{})
	r := &remembering{s, map[string]int{}}
	s.Do(func() { s.Take, s.TakeAll = r.take, r.takeAll })
	return r, b
}

// mustHold fails unless each result without an error tells where its event stands in the
// stream, and each with one says so of an event that may or may not be there.
func mustHold(t *testing.T, s *scripted.Server, results []Result) (acknowledged int) {
	t.Helper()
	s.Do(func() {
		for i, r := range results {
			if r.Err != nil {
				continue
			}
			acknowledged++
			seq, value := r.Receipt.Sequence, fmt.Sprintf(`"value":%q`, r.Receipt.Event.Value)
			if seq == 0 || seq > uint64(len(s.Log)) || !strings.Contains(string(s.Log[seq-1].Msg.Data), value) {
				t.Errorf("event %d is acknowledged at %d, and does not stand there", i, seq)
			}
		}
	})
	return acknowledged
}

// Many events go as batches, each acknowledged where it stands in the stream.
func TestPublishAllInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		var sizes []int
		s.Do(func() {
			s.TakeAll = func(batch []*nats.Msg) string {
				sizes = append(sizes, len(batch))
				for _, m := range batch {
					for _, name := range []string{jetstream.MsgIDHeader, jetstream.MsgTTLHeader, jetstream.ExpectedStreamHeader} {
						if m.Header.Get(name) == "" {
							t.Errorf("a message of a batch has no %s", name)
						}
					}
				}
				return s.StoreAll(batch)
			}
		})
		const n = 1500
		results, err := b.publisher.PublishAll(t.Context(), sessionEvents(n))
		if err != nil || mustHold(t, s, results) != n {
			t.Fatal(err)
		}
		s.Do(func() {
			if len(sizes) != 2 || s.Events != n {
				t.Errorf("batches of %d; %d events", sizes, s.Events)
			}
		})
		if st := b.publisher.Status(); st.Acknowledged != n || st.Losses != 0 {
			t.Errorf("%+v", st)
		}
		g := &b.publisher.gauge
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.inFlight != 0 || g.written < n*recordOverhead {
			t.Errorf("%d bytes in flight, %d written", g.inFlight, g.written)
		}
	})
}

// What a batch's answer, or none, leaves open is found out event by event: nothing is
// claimed that is not there, nothing published twice that is, and no loss seen where none is.
func TestBatchInDoubt(t *testing.T) {
	const n = 100
	refuse := func(code jetstream.ErrorCode) func(*remembering, []*nats.Msg) string {
		return func(*remembering, []*nats.Msg) string { return scripted.Refusal(code, "refused") }
	}
	storeFirst := func(r *remembering, batch []*nats.Msg, k int) {
		for _, m := range batch[:k] {
			r.take(0, m)
		}
	}
	for name, c := range map[string]struct {
		answer func(r *remembering, batch []*nats.Msg) string
		extra  int // messages more than events
	}{
		"stored, no answer":      {func(r *remembering, batch []*nats.Msg) string { r.takeAll(batch); return "" }, 0},
		"not stored, no answer":  {func(r *remembering, batch []*nats.Msg) string { return "" }, 0},
		"half stored, no answer": {func(r *remembering, batch []*nats.Msg) string { storeFirst(r, batch, n/2); return "" }, 0},
		"half stored, said as half": {func(r *remembering, batch []*nats.Msg) string {
			storeFirst(r, batch, n/2)
			return scripted.Committed(batch[:n/2], n/2)
		}, 0},
		"half stored, said as half, above others": {func(r *remembering, batch []*nats.Msg) string {
			for range 2 * n {
				r.Store(&nats.Msg{Subject: batch[0].Subject, Data: []byte("{}")})
			}
			storeFirst(r, batch, n/2)
			return scripted.Committed(batch[:n/2], int(r.Info.State.LastSeq))
		}, 2 * n},
		"a server that knows no batches": {func(r *remembering, batch []*nats.Msg) string {
			storeFirst(r, batch, n)
			return scripted.Stored(n)
		}, 0},
		"half stored, then a leader that never heard of it": {func(r *remembering, batch []*nats.Msg) string {
			storeFirst(r, batch, n/2)
			return scripted.Refusal(10176, "atomic publish batch is incomplete")
		}, 0},
		"one is seen":        {func(r *remembering, batch []*nats.Msg) string { r.take(0, batch[n/2]); return r.takeAll(batch) }, 0},
		"all are seen":       {func(r *remembering, batch []*nats.Msg) string { r.takeAll(batch); return r.takeAll(batch) }, 0},
		"too many in flight": {refuse(10210), 0},
		"not leader":         {refuse(10008), 0},
		"too large":          {refuse(jsadmin.CodeBatchTooLarge), 0},
		"disabled":           {refuse(jsadmin.CodeBatchesDisabled), 0},
		"unknown":            {refuse(19999), 0},
		"another's answer": {func(r *remembering, batch []*nats.Msg) string {
			return `{"stream":"REVOCATIONS","seq":1000,"batch":"another","count":100}`
		}, 0},
		"another stream's": {func(r *remembering, batch []*nats.Msg) string {
			return strings.Replace(scripted.Committed(batch, 1000), "REVOCATIONS", "OTHER", 1)
		}, 0},
		"a sequence that cannot be": {func(r *remembering, batch []*nats.Msg) string { return scripted.Committed(batch, n-1) }, 0},
		"no JSON":                   {func(r *remembering, batch []*nats.Msg) string { return "OK" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, b := newRemembering(t)
				defer b.end()
				batches := 0
				r.Do(func() {
					r.TakeAll = func(batch []*nats.Msg) string {
						batches++
						return c.answer(r, batch)
					}
				})
				results, err := b.publisher.PublishAll(t.Context(), sessionEvents(n))
				if err != nil || mustHold(t, r.Server, results) != n || batches != 1 {
					t.Fatalf("%d batches, %v", batches, err)
				}
				r.Do(func() {
					if len(r.Log) != n+c.extra {
						t.Errorf("%d messages in the stream", len(r.Log))
					}
				})
				if st := b.publisher.Status(); st.Acknowledged != n || st.Losses+st.Contradicted != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// Invariant 9: when a batch's answer is lost, and then nothing goes any more, no event is
// reported as certainly not stored, and none as acknowledged.
func TestBatchInDoubtIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b := newRemembering(t)
		defer b.end()
		r.Do(func() {
			r.TakeAll = func(batch []*nats.Msg) string { r.takeAll(batch); return "" }
			r.Take = func(int, *nats.Msg) string {
				return scripted.Refusal(jsadmin.CodeStoreFailed, "maximum bytes exceeded")
			}
		})
		results, err := b.publisher.PublishAll(t.Context(), sessionEvents(200))
		if !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		for i, r := range results {
			if !errors.Is(r.Err, ErrNotAcknowledged) || !errors.Is(r.Err, ErrFull) {
				t.Errorf("event %d, which is stored: %v", i, r.Err)
			}
		}
	})
}

// An acknowledgement that tells of a loss makes a batch one, and its events are published
// under new ids.
func TestBatchTellsOfLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		for i := range 5 {
			if _, err := b.publisher.Publish(t.Context(), sessionEvent(1000+i)); err != nil {
				t.Fatal(err)
			}
		}
		s.Do(func() { s.Info.State.LastSeq, s.Log = 0, nil }) // rolled back, unseen
		results, err := b.publisher.PublishAll(t.Context(), sessionEvents(100))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if mustHold(t, s, results) != 100 {
			t.Error("not all are acknowledged")
		}
		if st := b.publisher.Status(); st.Losses != 1 || st.Pending != 0 || st.Republished != 5 {
			t.Errorf("%+v", st)
		}
		for i := range 5 {
			if !s.Has(fmt.Sprintf(`"sid-%d"`, 1000+i)) {
				t.Errorf("event %d is not republished", i)
			}
		}
	})
}

// A stream without batches gets its events one by one, and batches once it takes them.
func TestStreamWithoutBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		batches := 0
		s.Do(func() {
			s.Info.Config.AllowAtomicPublish = false
			s.TakeAll = func(batch []*nats.Msg) string { batches++; return s.StoreAll(batch) }
		})
		time.Sleep(time.Minute)
		publish := func(want int) {
			t.Helper()
			results, err := b.publisher.PublishAll(t.Context(), sessionEvents(100))
			if err != nil || mustHold(t, s, results) != 100 || batches != want {
				t.Errorf("%d batches, want %d; %v", batches, want, err)
			}
		}
		publish(0)
		if st := b.publisher.Status(); len(st.Unsafe)+len(st.Weak) != 0 {
			t.Errorf("%+v", st)
		}
		s.Do(func() { s.Info.Config.AllowAtomicPublish = true })
		time.Sleep(2 * batchPause)
		publish(1)
	})
}

// A server that takes fewer in a batch is given fewer.
func TestSmallBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		var sizes []int
		s.Do(func() {
			s.TakeAll = func(batch []*nats.Msg) string {
				if sizes = append(sizes, len(batch)); len(batch) > 150 {
					return scripted.Refusal(jsadmin.CodeBatchTooLarge, "atomic publish batch is too large: 150")
				}
				return s.StoreAll(batch)
			}
		})
		for range 8 {
			results, err := b.publisher.PublishAll(t.Context(), sessionEvents(1900))
			if err != nil || mustHold(t, s, results) != 1900 {
				t.Fatal(err)
			}
		}
		if n := len(sizes); n < 20 || sizes[n-2] > 150 {
			t.Errorf("batches of %d", sizes)
		}
	})
}

// What a batch holds of memory on both ends is bounded in bytes, too.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		var list []revoke.Event
		for i := range 200 {
			e := revoke.Event{Kind: revoke.KindSubject, Value: fmt.Sprint("u-", i)}
			for range revoke.MaxKeep {
				e.Keep = append(e.Keep, strings.Repeat("s", revoke.MaxValueBytes))
			}
			list = append(list, e)
		}
		most := 0
		s.Do(func() {
			s.TakeAll = func(batch []*nats.Msg) string {
				size := 0
				for _, m := range batch {
					size += len(m.Data)
				}
				most = max(most, size)
				return s.StoreAll(batch)
			}
		})
		results, err := b.publisher.PublishAll(t.Context(), list)
		if err != nil || mustHold(t, s, results) != 200 || most < maxBatchBytes/2 || most > maxBatchBytes {
			t.Errorf("%d bytes in a batch; %v", most, err)
		}
	})
}

// Any answer may come, and is never taken for more than it says.
func FuzzDecodeBatchAck(f *testing.F) {
	for _, seed := range []string{
		`{"stream":"REVOCATIONS","seq":1000,"batch":"b","count":1000}`, `{"error":{"code":400,"err_code":10201,"description":"x"},"stream":"REVOCATIONS","seq":0}`,
		`{"stream":"S","seq":1,"duplicate":true}`, `{"seq":-1}`, `{"count":"1"}`, `[]`, ``, `null`, `{"batchAck":{"seq":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if ack, err := decodeBatchAck(data); err != nil && ack != (batchAck{}) {
			t.Errorf("%q: %+v beside %v", data, ack, err)
		}
	})
}
