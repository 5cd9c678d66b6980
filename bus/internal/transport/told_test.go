package transport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/stream"
)

// That the stream is nearly full is told at four fifths, once, and again only after it was
// less so.
func TestNearlyFullIsToldOnce(t *testing.T) {
	var log scripted.Pages
	tr := New(stream.DefaultName, log.Logger())
	defer tr.Close()
	for i, c := range []struct{ percent, want int }{
		{0, 0}, {79, 0}, {80, 1}, {90, 1}, {76, 1}, {80, 1}, {74, 1}, {79, 1}, {80, 2}, {100, 2},
	} {
		tr.warnFill(stream.State{MaxBytes: 1000, Bytes: uint64(10 * c.percent)})
		if n := log.Count("nearly full"); n != c.want {
			t.Errorf("reading %d, %d %%: told %d times, want %d", i, c.percent, n, c.want)
		}
	}
	tr.warnFill(stream.State{MaxBytes: -1, Bytes: 1 << 40}) // which has no bound
	tr.warnFill(stream.State{MaxBytes: 1000, Bytes: 800})
	if n := log.Count("nearly full"); n != 3 {
		t.Errorf("told %d times", n)
	}
}

// A Signal wakes who waits already, all of them, and no one who waits later.
func TestSignal(t *testing.T) {
	var s Signal
	s.Wake()
	first, second := s.Wait(), s.Wait()
	isWoken := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	if first == nil || isWoken(first) {
		t.Fatal("woken by what was before")
	}
	if s.Wake(); !isWoken(first) || !isWoken(second) || isWoken(s.Wait()) {
		t.Errorf("woken: %t, %t, and who comes later %t", isWoken(first), isWoken(second), isWoken(s.Wait()))
	}
}

// Before there is a connection its inboxes are where the settings say, and a request says
// that there is none; what the server refuses is told as such.
func TestAskingBeforeAndAfterThereIsAConnection(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"as always":                       {Config{}, "_INBOX."},
		"by the field":                    {Config{InboxPrefix: "mine"}, "mine."},
		"by an option":                    {Config{Options: []nats.Option{nats.CustomInboxPrefix("theirs")}}, "theirs."},
		"the option is later, and counts": {Config{InboxPrefix: "mine", Options: []nats.Option{nats.CustomInboxPrefix("theirs")}}, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := scripted.New(t)
			s.Refuses = true
			c.cfg.Servers, c.cfg.Options = "nats://127.0.0.1:4222", append(c.cfg.Options, nats.SetCustomDialer(s))
			conn, err := Dial(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { conn.Close(); synctest.Wait() }()
			if inbox := conn.NewInbox(); !strings.HasPrefix(inbox, c.want) || inbox == conn.NewInbox() {
				t.Errorf("%s: inbox %q", name, inbox)
			}
			tr := New(stream.DefaultName, Logger(nil))
			defer tr.Close()
			tr.Conn = conn
			if _, err := tr.ReadStream(t.Context()); !errors.Is(err, ErrDisconnected) {
				t.Errorf("%s: reading the stream: %v", name, err)
			}
			s.Do(func() { s.Refuses = false })
			if err := conn.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if inbox := conn.NewInbox(); !strings.HasPrefix(inbox, c.want) {
				t.Errorf("%s: inbox %q over a connection", name, inbox)
			}
			if st, err := tr.ReadStream(t.Context()); err != nil || st.MaxBytes == 0 {
				t.Errorf("%s: %+v, %v", name, st, err)
			}
			const subject = "$JS.API.STREAM.INFO.OTHER"
			s.Do(func() { s.Deny = subject })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err = conn.AskAgain(ctx, subject, func(ctx context.Context, js jetstream.JetStream) error {
				_, err := js.Stream(ctx, "OTHER")
				return err
			})
			if !errors.Is(err, ErrNotPermitted) || !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: what is refused: %v", name, err)
			}
		})
	}
}
