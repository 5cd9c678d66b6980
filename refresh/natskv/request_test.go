package natskv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/internal/natsconn"
)

// What an election or a lost connection answers is asked again; what would be answered
// the same for ever is not.
func TestFinal(t *testing.T) {
	api := func(code jetstream.ErrorCode) error {
		return fmt.Errorf("x: %w", &jetstream.APIError{Code: 503, ErrorCode: code})
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{api(10008), false}, // JetStream system temporarily unavailable
		{api(10118), false}, // stream is offline
		{jetstream.ErrJetStreamNotEnabled, false},
		{jetstream.ErrNoStreamResponse, false},
		{nats.ErrNoResponders, false},
		{nats.ErrTimeout, false},
		{nats.ErrDisconnected, false},
		{nats.ErrReconnectBufExceeded, false},
		{context.DeadlineExceeded, false},
		{errors.New("anything else"), false},
		{api(10071), true},
		{api(10164), true},
		{api(10077), true},
		{api(10059), true},
		{nats.ErrConnectionClosed, true},
		{nats.ErrConnectionDraining, true},
		{nats.ErrMaxPayload, true},
	} {
		if got := final(fmt.Errorf("request: %w", c.err)); got != c.want {
			t.Errorf("%v: %t", c.err, got)
		}
	}
}

// An error says that the connection is down, and keeps the families of both.
func TestGaveUp(t *testing.T) {
	err := gaveUp(context.DeadlineExceeded, nats.ErrReconnectBufExceeded)
	if !errors.Is(err, context.DeadlineExceeded) || !unsent(err) || !strings.Contains(err.Error(), "not connected") {
		t.Errorf("not connected: %v", err)
	}
	if err := gaveUp(context.Canceled, nats.ErrTimeout); !errors.Is(err, context.Canceled) || !errors.Is(err, nats.ErrTimeout) || strings.Contains(err.Error(), "not connected") {
		t.Errorf("no answer: %v", err)
	}
}

func TestBucketErrors(t *testing.T) {
	for code, want := range map[jetstream.ErrorCode]error{10059: ErrNoBucket, 10077: ErrFull, 10047: ErrFull, 10023: ErrFull, 10071: nil} {
		err := bucketError(&jetstream.APIError{ErrorCode: code})
		for _, family := range []error{ErrNoBucket, ErrFull} {
			if errors.Is(err, family) != (family == want) {
				t.Errorf("code %d: %v", code, err)
			}
		}
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != code {
			t.Errorf("code %d is lost: %v", code, err)
		}
	}
}

// A request whose connection is lost is not waited for any longer: nobody answers it over
// the next one. What the caller or the server says counts as before.
func TestConnectionLost(t *testing.T) {
	refusal := &jetstream.APIError{ErrorCode: 10071}
	for name, c := range map[string]struct {
		lost   bool // while the request is under way
		answer error
		want   error
		after  time.Duration
	}{
		"lost":              {true, nil, errLost, time.Millisecond},
		"lost and answered": {true, refusal, refusal, time.Millisecond},
		"no answer":         {false, nil, context.DeadlineExceeded, attemptTimeout},
		"answered":          {false, refusal, refusal, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lost := make(chan nats.Status, 1)
				began := time.Now()
				err := natsconn.WhileConnected(t.Context(), attemptTimeout, lost, errLost, func(ctx context.Context) error {
					time.Sleep(time.Millisecond)
					if c.lost {
						lost <- nats.RECONNECTING
					}
					if c.answer != nil {
						return c.answer
					}
					<-ctx.Done()
					return ctx.Err()
				})
				if !errors.Is(err, c.want) || time.Since(began) != c.after {
					t.Errorf("%v after %s, want %v after %s", err, time.Since(began), c.want, c.after)
				}
				if err == errLost && (final(err) || unsent(err)) {
					t.Error("it is not asked again, or taken not to have been sent")
				}
			})
		})
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := natsconn.WhileConnected(gone, attemptTimeout, nil, errLost, func(ctx context.Context) error { return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller has gone: %v", err)
	}
}

// No call waits for ever, and none longer than its caller says.
func TestBound(t *testing.T) {
	ctx, cancel := bound(context.Background(), time.Minute)
	defer cancel()
	if at, ok := ctx.Deadline(); !ok || time.Until(at) > time.Minute {
		t.Errorf("%v, %t", at, ok)
	}
	own, end := context.WithTimeout(context.Background(), time.Hour)
	defer end()
	want, _ := own.Deadline()
	ctx, cancel = bound(own, time.Minute)
	if at, ok := ctx.Deadline(); !ok || !at.Equal(want) {
		t.Errorf("%v, %t", at, ok)
	}
	cancel()
	if ctx.Err() == nil || own.Err() != nil {
		t.Error("it does not end alone")
	}
}

// A slowStream is a server that answers one read after the other, in the order in which they
// come, those that nobody waits for any more as well.
type slowStream struct {
	jetstream.Stream
	takes time.Duration
	queue chan chan struct{}
	most  int // that waited at once
}

// An idleConn is a connection that is used for nothing.
type idleConn struct {
	jetstream.JetStream
	nc *nats.Conn
}

func (c idleConn) Conn() *nats.Conn { return c.nc }

func (s *slowStream) serve() {
	for done := range s.queue {
		s.most = max(s.most, len(s.queue)+1)
		time.Sleep(s.takes)
		close(done)
	}
}

func (s *slowStream) GetLastMsgForSubject(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	done := make(chan struct{})
	s.queue <- done
	select {
	case <-done:
		return &jetstream.RawStreamMsg{Subject: subject, Sequence: 1}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// More reads at once than the server answers within the time of one attempt are answered
// all the same, one after the other; those of another kind do not wait for all of them.
func TestFloodOfReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flood = 3000
		slow := &slowStream{takes: 2 * time.Millisecond, queue: make(chan chan struct{}, 1e6)}
		s := &Store{js: idleConn{nc: new(nats.Conn)}, stream: slow}
		for i := range lanes {
			s.reads[i] = make(chan struct{}, maxReads)
		}
		go slow.serve()
		defer close(slow.queue)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range flood {
			wg.Go(func() {
				if _, err := s.Load(t.Context(), fmt.Sprint("s.", i)); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if _, err := s.Load(t.Context(), "u.new"); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("one of another kind took %s", took)
		}
		wg.Wait()
		if took := time.Since(began); took > 2*flood*slow.takes || slow.most > lanes*maxReads {
			t.Errorf("all took %s, with %d at once", took, slow.most)
		}
	})
}

// Strangers can ask for sessions that there are not, and have confirmed that there are none.
// The records of subjects, pending work, outages of the store and the store itself do not wait
// in that line: without the record of outages nobody can be told from a thief.
func TestKindsHaveLanesOfTheirOwn(t *testing.T) {
	s := &Store{prefix: subjectPrefix("sessions")}
	taken := map[int]string{}
	for _, key := range []string{"s.x", "u.x", "p.x", "o.x", "r.x"} {
		lane := s.lane(s.prefix + key)
		if other, ok := taken[lane]; ok {
			t.Errorf("keys like %q wait for those like %q", key, other)
		}
		taken[lane] = key
	}
}

// A Store that would send anything panics here, since it has no connection.
func TestNothingIsSent(t *testing.T) {
	s := &Store{}
	lane := make(chan struct{}, 1)
	s.confirm["key"[0]%lanes] = lane
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Save(ended, "key", nil, 0, time.Now()); !errors.Is(err, context.Canceled) || errors.Is(err, errUnanswered) {
		t.Errorf("saved for somebody who is gone: %v", err)
	}
	lane <- struct{}{} // as many are under way as may be
	waiting, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := s.last(waiting, "key", 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one confirmation too many: %v", err)
	}
	if len(lane) != 1 {
		t.Error("who waited in vain took a place")
	}
}

// What a server refuses for want of memory is full, as what it refuses for want of disk.
func TestServerOutOfMemoryIsFull(t *testing.T) {
	for code, full := range map[jetstream.ErrorCode]bool{
		jsadmin.CodeMemoryExceeded: true, jsadmin.CodeStorageExceeded: true, jsadmin.CodeStoreFailed: true, jsadmin.CodeNoResources: true, jsadmin.CodeSealed: false,
	} {
		if err := bucketError(&jetstream.APIError{ErrorCode: code}); errors.Is(err, ErrFull) != full {
			t.Errorf("%d: %v", code, err)
		}
	}
}
