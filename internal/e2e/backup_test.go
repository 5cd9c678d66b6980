package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A backup of a stream, as `nats stream backup` takes it and `nats stream restore` gives
// it back.
type backup struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	chunks [][]byte
}

// backUp takes a backup, by the requests that the nats tool makes.
func backUp(ctx context.Context, nc *nats.Conn, stream string) (*backup, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	request, _ := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": 16 << 10})
	b := &backup{}
	if err := ask(ctx, nc, "$JS.API.STREAM.SNAPSHOT."+stream, request, b); err != nil {
		return nil, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", len(b.chunks), err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return nil, fmt.Errorf("after chunk %d: status %s %s", len(b.chunks), status, m.Header.Get("Description"))
			}
			return b, nil
		}
		b.chunks = append(b.chunks, m.Data)
		if m.Reply != "" { // the last has none
			if err := m.Respond(nil); err != nil {
				return nil, err
			}
		}
	}
}

// restore makes the stream, which must not exist, of a backup, by the requests that the
// nats tool makes.
func (b *backup) restore(ctx context.Context, nc *nats.Conn, stream string) error {
	request, err := json.Marshal(b)
	if err != nil {
		return err
	}
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	if err := ask(ctx, nc, "$JS.API.STREAM.RESTORE."+stream, request, &to); err != nil {
		return err
	}
	for i, chunk := range append(b.chunks[:len(b.chunks):len(b.chunks)], nil) {
		m, err := nc.RequestWithContext(ctx, to.Subject, chunk)
		if err != nil {
			return fmt.Errorf("chunk %d of %d: %w", i, len(b.chunks), err)
		}
		if err := refusal(m.Data); err != nil {
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
	if err := refusal(m.Data); err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}

// refusal returns the error that an answer holds.
func refusal(answer []byte) error {
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil
	}
	var r struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("%q: %w", answer, err)
	}
	if r.Error != nil {
		return r.Error
	}
	return nil
}

// The operator of both configurations can take a backup and give it back, larger than
// what the server sends unasked, and nobody else can. What was revoked in it is refused by
// who reads it then.
func TestExampleBackup(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"accounts.conf", "one-account.conf"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			br := withAccounts(t, file)
			createStream(t, dial(t, br.url(), user("operator")...), bus.StreamConfig{})
			auth := join(t, dial(t, br.url(), user("auth")...), bus.Config{}, nil)
			var events []revoke.Event
			for i := range 2000 {
				events = append(events, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("kept-", i), Reason: fmt.Sprintf("%0200d", i)})
			}
			if _, err := auth.PublishAll(within(t), events); err != nil {
				t.Fatal(err)
			}
			auth.Close() // it would publish again what is lost

			nc, js := plain(t, br.url(), user("operator")...)
			b, err := backUp(within(t), nc, bus.DefaultStream)
			if err != nil {
				t.Fatal(err)
			}
			if len(b.chunks) < 2 {
				t.Errorf("a backup of %d chunks", len(b.chunks))
			}
			if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
				t.Fatal(err)
			}
			if err := b.restore(within(t), nc, bus.DefaultStream); err != nil {
				t.Fatal(err)
			}
			l := newList(t, quick)
			waitFresh(t, join(t, dial(t, br.url(), user("auth")...), bus.Config{}, l))
			mustRefuse(t, l, session("kept-0"), session("kept-1999"))
			mustPass(t, l, session("other"))

			var rights []right
			for _, name := range []string{"operator", "auth", "publisher", "verifier"} {
				rights = append(rights, right{name, "$JS.SNAPSHOT.RESTORE.x", name == "operator"}, right{name, "$JS.SNAPSHOT.ACK.x", name == "operator"})
			}
			checkRights(t, br.url(), rights)
		})
	}
}
