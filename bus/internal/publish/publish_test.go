package publish

import (
	"context"
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
)

// On a normal day a publisher asks for the stream's state twice a minute and says nothing.
func TestNormalDayIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Logger()})
		defer b.end()
		for i := range 60 {
			if _, err := b.publisher.Publish(t.Context(), sessionEvent(i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		s.Do(func() {
			if s.Asked < 60 || s.Asked > 250 || s.Events != 60 {
				t.Errorf("asked %d times, %d events", s.Asked, s.Events)
			}
		})
		if log.String() != "" {
			t.Errorf("logged %s", &log)
		}
		st := b.publisher.Status()
		if st.Acknowledged != 60 || st.Losses+st.Contradicted+st.Republished+st.Expired+st.Forgotten+st.OutboxFailures+st.OutboxDamaged != 0 ||
			st.Pending != 0 || len(st.Unsafe)+len(st.Weak) != 0 || st.ClockAhead.Abs() > time.Second {
			t.Errorf("%+v", st)
		}
	})
}

// What cannot be published is tried ever more seldom, down to once a second, and not
// after the call has ended.
func TestPublishBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		var at []time.Time
		s.Do(func() {
			s.Take = func(int, *nats.Msg) string {
				at = append(at, time.Now())
				return scripted.Refusal(10039, "try again")
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := b.publisher.Publish(ctx, sessionEvent(1)); !errors.Is(err, ErrNotAcknowledged) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		synctest.Wait()
		n := 0
		s.Do(func() { n = len(at) })
		if n < 40 || n > 130 {
			t.Fatalf("%d attempts in a minute", n)
		}
		if gap := at[1].Sub(at[0]); gap < firstBackoff/2 || gap > 2*firstBackoff {
			t.Errorf("the second attempt comes after %s", gap)
		}
		for i := n - 10; i < n; i++ {
			if gap := at[i].Sub(at[i-1]); gap < maxBackoff/2 || gap > 2*maxBackoff {
				t.Errorf("attempt %d comes after %s", i, gap)
			}
		}
		time.Sleep(time.Hour)
		s.Do(func() {
			if len(at) != n {
				t.Error("it goes on after the call has ended")
			}
		})
	})
}

// Republication is tried ever more seldom while it fails, brings each event once when it
// goes, and then comes to rest.
func TestRepublicationComesToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 5
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Logger()})
		defer b.end()
		for i := range events {
			if _, err := b.publisher.Publish(t.Context(), sessionEvent(i)); err != nil {
				t.Fatal(err)
			}
		}
		attempts := 0
		s.Do(func() {
			s.Info.Created, s.Info.State.LastSeq, s.Log = time.Now(), 0, nil
			s.Take = func(int, *nats.Msg) string {
				attempts++
				return scripted.Refusal(jsadmin.CodeStoreFailed, "maximum bytes exceeded")
			}
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := b.publisher.Status(); st.Losses != 1 || st.Pending != events || st.Republished != 0 {
			t.Errorf("%+v", st)
		}
		first := 0
		s.Do(func() { first = attempts })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s.Do(func() {
			if n := attempts - first; n < events || n > 25*events {
				t.Errorf("%d attempts in ten minutes, after %d", n, first)
			}
		})
		seen := map[string]int{}
		s.Do(func() {
			s.Take = func(_ int, m *nats.Msg) string {
				seen[string(m.Data[:strings.Index(string(m.Data), `"until"`)])]++
				return scripted.Stored(int(s.Store(m)))
			}
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := b.publisher.Status(); st.Pending != 0 || st.Republished != events || st.Losses != 1 {
			t.Errorf("%+v", st)
		}
		s.Do(func() { attempts = s.Events })
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s.Do(func() {
			if s.Events != attempts || len(seen) != events {
				t.Errorf("%d more events in two hours, %d different", s.Events-attempts, len(seen))
			}
		})
		if n := log.Count("has lost acknowledged revocations"); n != 1 || b.publisher.ledger.recovering {
			t.Errorf("the loss is logged %d times", n)
		}
	})
}

// An error says "perhaps stored" if and only if a try may have stored the event.
func TestPerhapsStored(t *testing.T) {
	full := scripted.Refusal(jsadmin.CodeStoreFailed, "maximum bytes exceeded")
	busy := scripted.Refusal(10039, "try again")
	for name, c := range map[string]struct {
		answers []string // the last for all that follow
		perhaps bool
		as      error // nil: acknowledged
	}{
		"refused":                  {[]string{full}, false, ErrFull},
		"busy, then refused":       {[]string{busy, busy, full}, false, ErrFull},
		"no answer, then refused":  {[]string{"", full}, true, ErrFull},
		"no answer, busy, refused": {[]string{"", busy, full}, true, ErrFull},
		"another stream has it":    {[]string{`{"stream":"OTHER","seq":1}`}, true, context.DeadlineExceeded},
		"not the stream's subject": {[]string{scripted.Refusal(jsadmin.CodeStreamNotMatch, "expected stream does not match")}, false, ErrStreamUnsafe},
		"sealed":                   {[]string{scripted.Refusal(jsadmin.CodeSealed, "sealed")}, false, ErrStreamUnsafe},
		"no TTL":                   {[]string{scripted.Refusal(jsadmin.CodeTTLDisabled, "ttl")}, false, ErrStreamUnsafe},
		"too large":                {[]string{scripted.Refusal(jetstream.JSErrCodeStreamMessageExceedsMaximum, "large")}, false, errTooLarge},
		"no answer, too large":     {[]string{"", scripted.Refusal(jetstream.JSErrCodeStreamMessageExceedsMaximum, "large")}, true, errTooLarge},
		"never an answer":          {[]string{""}, true, context.DeadlineExceeded},
		"no answer, duplicate":     {[]string{"", `{"stream":"REVOCATIONS","seq":1,"duplicate":true}`}, false, nil},
		"busy, then stored":        {[]string{busy, scripted.Stored(1)}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b := newScripted(t, config{})
				defer b.end()
				s.Do(func() { s.Take = func(n int, _ *nats.Msg) string { return c.answers[min(n, len(c.answers))-1] } })
				_, err := b.publisher.Publish(t.Context(), sessionEvent(1))
				if !errors.Is(err, c.as) {
					t.Fatalf("got %v, want %v", err, c.as)
				}
				if c.as != context.DeadlineExceeded && errors.Is(err, ErrNotAcknowledged) != c.perhaps {
					t.Errorf("perhaps stored: %t, error %v", !c.perhaps, err)
				}
				g := &b.publisher.gauge
				g.mu.Lock() // of a reading under way
				written, inFlight := g.written, g.inFlight
				g.mu.Unlock()
				if c.perhaps && c.as == context.DeadlineExceeded && written == 0 || !c.perhaps && c.as != nil && written > 0 || inFlight != 0 {
					t.Errorf("%d bytes counted as written, %d in flight", written, inFlight)
				}
			})
		})
	}
}

// A refusingJetStream is one whose client does not send what is published, with err.
type refusingJetStream struct {
	jetstream.JetStream
	err   error
	asked int
}

func (r *refusingJetStream) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if r.asked++; r.asked == 1 {
		return nil, r.err
	}
	return r.JetStream.PublishMsg(ctx, m, opts...)
}

// What the client itself did not send is not stored, and does not count as written: the
// connection went after it was looked at, or the server knows no headers.
func TestNotSentIsNotPerhapsStored(t *testing.T) {
	for _, c := range []struct {
		err  error
		sent bool
	}{
		{nats.ErrReconnectBufExceeded, false}, {nats.ErrHeadersNotSupported, false},
		{fmt.Errorf("on the way: %w", nats.ErrReconnectBufExceeded), false},
		{nats.ErrTimeout, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, b := newScripted(t, config{})
			defer b.end()
			if _, err := b.publisher.ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			l := *b.Conn.Link.Load()
			refusing := &refusingJetStream{JetStream: l.JetStream, err: c.err}
			l.JetStream = refusing
			b.Conn.Link.Store(&l)
			valid, err := b.publisher.own(sessionEvent(1))
			if err != nil {
				t.Fatal(err)
			}
			_, rec, err := b.publisher.prepare(t.Context(), valid, limitSingle)
			if err != nil {
				t.Fatal(err)
			}
			_, sent, err := b.publisher.try(t.Context(), rec, "id-1")
			if sent != c.sent || !errors.Is(err, c.err) {
				t.Errorf("%v: perhaps stored %t, want %t; %v", c.err, sent, c.sent, err)
			}
			g := &b.publisher.gauge
			g.mu.Lock()
			written, inFlight := g.written, g.inFlight
			g.mu.Unlock()
			if (written > 0) != c.sent || inFlight != 0 {
				t.Errorf("%v: %d bytes counted as written, %d in flight", c.err, written, inFlight)
			}
			if ack, _, err := b.publisher.try(t.Context(), rec, "id-1"); err != nil || ack.Sequence != 1 || refusing.asked != 2 {
				t.Errorf("%v: the next try: %+v, %v", c.err, ack, err)
			}
		})
	}
}

// Every line that on-call reads is there once when its cause is, again when it comes
// again, and not for what is no cause.
func TestWhatOnCallReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Logger()})
		defer b.end()
		look := func() {
			time.Sleep(3 * time.Minute)
			synctest.Wait()
		}
		if _, err := b.publisher.Publish(t.Context(), sessionEvent(1)); err != nil {
			t.Fatal(err)
		}
		var config jetstream.StreamConfig
		var size uint64
		s.Do(func() { config, size = s.Info.Config, s.Info.State.Bytes })
		for name, c := range map[string]struct {
			line  string
			cause func()
			shown func(Status) bool
			more  int // lines: what it has forgotten is lost, and cannot be published again yet
		}{
			"nearly full":    {"nearly full", func() { s.Info.State.Bytes = 85 * uint64(config.MaxBytes) / 100 }, func(s Status) bool { return s.Fill > 0.84 && s.Fill < 0.86 }, 0},
			"one replica":    {"an accident could lose", func() { s.Info.Config.Replicas = 1 }, func(s Status) bool { return len(s.Weak) == 1 }, 0},
			"forgets":        {"the stream is unsafe", func() { s.Info.Config.MaxAge = time.Hour }, func(s Status) bool { return len(s.Unsafe) == 1 }, 2},
			"is a mirror":    {"the stream is unsafe", func() { s.Info.Config.Mirror = &jetstream.StreamSource{Name: "X"} }, func(s Status) bool { return len(s.Unsafe) == 1 }, 0},
			"nothing at all": {"", func() {}, func(s Status) bool { return len(s.Unsafe)+len(s.Weak) == 0 && s.Fill < 0.01 }, 0},
		} {
			before := log.String()
			for round := range 2 {
				s.Do(c.cause)
				look()
				if !c.shown(b.publisher.Status()) {
					t.Errorf("%s: %+v", name, b.publisher.Status())
				}
				text := strings.TrimPrefix(log.String(), before)
				if n := strings.Count(text, "\n"); c.line == "" && n > 0 || c.line != "" && (n != (1+c.more)*(round+1) || strings.Count(text, c.line) != round+1) {
					t.Errorf("%s, %d times: logged %s", name, round+1, text)
				}
				s.Do(func() { s.Info.Config, s.Info.State.Bytes = config, size })
				look()
				if st := b.publisher.Status(); len(st.Unsafe)+len(st.Weak) != 0 || st.Fill > 0.01 {
					t.Errorf("%s is mended: %+v", name, st)
				}
			}
		}
	})
}

// A stream that would forget is not published to, and is again as soon as it is mended.
func TestUnsafeStreamIsPublishedToAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newScripted(t, config{})
		defer b.end()
		var config jetstream.StreamConfig
		s.Do(func() { config, s.Info.Config.MaxAge = s.Info.Config, time.Hour })
		time.Sleep(time.Minute)
		_, err := b.publisher.Publish(t.Context(), sessionEvent(1))
		s.Do(func() {
			if !errors.Is(err, ErrStreamUnsafe) || !strings.Contains(err.Error(), "max age") || s.Events != 0 {
				t.Fatalf("got %v, %d events", err, s.Events)
			}
		})
		s.Do(func() { s.Info.Config = config })
		time.Sleep(2 * time.Second)
		if _, err := b.publisher.Publish(t.Context(), sessionEvent(1)); err != nil {
			t.Errorf("mended: %v", err)
		}
	})
}
