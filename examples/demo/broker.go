package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A broker is the NATS server with the stream of revocations, a mirror of that stream, and what
// an operator does to them: stop, start, take a backup, restore it, make the mirror anew.
type broker struct {
	dir     string
	address string // the same after each start

	mu     sync.Mutex // of one operation at a time
	server *embedded.Server

	kept *backup // the last that was taken
}

const mirrorName = bus.DefaultStream + "_MIRROR"

func startBroker(ctx context.Context, dir string) (*broker, error) {
	b := &broker{dir: filepath.Join(dir, "nats"), address: "127.0.0.1:0"}
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	return b, b.remakeMirror(ctx)
}

func (b *broker) start(ctx context.Context) (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server != nil {
		return nil
	}
	b.server, err = embedded.Start(ctx, embedded.Config{Dir: b.dir, Listen: b.address, Retention: retention, Logger: log})
	if err == nil && strings.HasSuffix(b.address, ":0") {
		b.address = strings.TrimPrefix(b.server.URL(), "nats://") // a port that was free
	}
	return err
}

func (b *broker) stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.server == nil {
		return nil
	}
	err := b.server.Close()
	b.server = nil
	return err
}

func (b *broker) running() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.server != nil
}

// admin connects as the operator does.
func (b *broker) admin(do func(*nats.Conn, jetstream.JetStream) error) error {
	nc, err := nats.Connect("nats://"+b.address, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return do(nc, js)
}

// remakeMirror makes the mirror anew, of the stream as it is now.
func (b *broker) remakeMirror(ctx context.Context) error {
	return b.admin(func(_ *nats.Conn, js jetstream.JetStream) error {
		origin, err := js.Stream(ctx, bus.DefaultStream)
		if err != nil {
			return err
		}
		if err := deleteStream(ctx, js, mirrorName); err != nil {
			return err
		}
		mirror := origin.CachedInfo().Config // limits, and the metadata that followers read
		mirror.Name, mirror.Subjects, mirror.AllowDirect = mirrorName, nil, false
		mirror.Duplicates, mirror.AllowAtomicPublish = 0, false
		mirror.Mirror = &jetstream.StreamSource{Name: bus.DefaultStream}
		_, err = js.CreateStream(ctx, mirror)
		return err
	})
}

// waitMirror waits until the mirror has taken the message of that sequence.
func (b *broker) waitMirror(ctx context.Context, sequence uint64) error {
	return b.admin(func(_ *nats.Conn, js jetstream.JetStream) error {
		for {
			mirror, err := js.Stream(ctx, mirrorName)
			if err != nil || mirror.CachedInfo().State.LastSeq >= sequence {
				return err
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

func deleteStream(ctx context.Context, js jetstream.JetStream, name string) error {
	err := js.DeleteStream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// rollBack replaces the stream by the backup, as it happens when a disk is restored. The mirror
// is made anew, as docs/oncall.md tells operators to, unless somebody forgets it.
func (b *broker) rollBack(ctx context.Context, forgetMirror bool) error {
	err := b.admin(func(nc *nats.Conn, js jetstream.JetStream) error {
		if b.kept == nil {
			return errors.New("there is no backup")
		}
		if !forgetMirror {
			if err := deleteStream(ctx, js, mirrorName); err != nil {
				return err
			}
		}
		if err := deleteStream(ctx, js, bus.DefaultStream); err != nil {
			return err
		}
		return b.kept.restore(ctx, nc)
	})
	if err != nil {
		return err
	}
	// A disk is restored under a server that is stopped. It also takes a mirror up when it starts,
	// and else only some ten seconds after its stream was gone.
	if err := errors.Join(b.stop(), b.start(ctx)); err != nil || forgetMirror {
		return err
	}
	return b.remakeMirror(ctx)
}

// A backup of the stream, as "nats stream backup" takes it.
type backup struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	chunks [][]byte
	taken  time.Time
}

// backUp takes a backup of the running stream and keeps it in place of the one before.
func (b *broker) backUp(ctx context.Context) error {
	return b.admin(func(nc *nats.Conn, _ jetstream.JetStream) error {
		inbox := nc.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			return err
		}
		next := &backup{taken: time.Now()}
		request := must(json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true}))
		if err := ask(ctx, nc, "$JS.API.STREAM.SNAPSHOT."+bus.DefaultStream, request, next); err != nil {
			return err
		}
		for {
			m, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			if len(m.Data) == 0 { // the end, with a status if it is none that is wished for
				if status := m.Header.Get("Status"); status != "" && status != "204" {
					return fmt.Errorf("backup: %s %s", status, m.Header.Get("Description"))
				}
				b.kept = next
				return nil
			}
			next.chunks = append(next.chunks, m.Data)
			if m.Reply != "" {
				if err := m.Respond(nil); err != nil {
					return err
				}
			}
		}
	})
}

// restore makes the stream, which must not exist, of the backup, as "nats stream restore" does.
func (k *backup) restore(ctx context.Context, nc *nats.Conn) error {
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	if err := ask(ctx, nc, "$JS.API.STREAM.RESTORE."+bus.DefaultStream, must(json.Marshal(k)), &to); err != nil {
		return err
	}
	for _, chunk := range append(k.chunks[:len(k.chunks):len(k.chunks)], nil) {
		var done struct{}
		if err := ask(ctx, nc, to.Subject, chunk, &done); err != nil {
			return err
		}
	}
	return nil
}

// ask makes a request of JetStream's API.
func ask(ctx context.Context, nc *nats.Conn, subject string, request []byte, answer any) error {
	m, err := nc.RequestWithContext(ctx, subject, request)
	if err != nil {
		return err
	}
	var refused struct {
		Error *jetstream.APIError `json:"error"`
	}
	if len(m.Data) == 0 {
		return nil
	}
	if err := errors.Join(json.Unmarshal(m.Data, &refused), json.Unmarshal(m.Data, answer)); err != nil {
		return err
	}
	if refused.Error != nil {
		return refused.Error
	}
	return nil
}

// Short times, so that nobody has to wait: the defaults are 15 s, 1 s and 2 s, an hour and 90 days.
var (
	retention = revoke.Retention{TokenLifetime: 15 * time.Minute, SessionLifetime: 24 * time.Hour, MaxSkew: 500 * time.Millisecond}
	freshness = revoke.Config{
		MaxStaleness: 4 * time.Second, HeartbeatInterval: 250 * time.Millisecond,
		MaxSkew: retention.MaxSkew, TokenLifetime: retention.TokenLifetime, SessionLifetime: retention.SessionLifetime,
	}
)
