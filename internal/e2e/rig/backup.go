package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Backup of a stream, as `nats stream backup` takes it and `nats stream restore` gives
// it back.
type Backup struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
	Chunks [][]byte        `json:"-"`
}

// BackUp takes a backup, by the requests that the nats tool makes.
func BackUp(ctx context.Context, nc *nats.Conn, stream string) (*Backup, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer sub.Unsubscribe()
	request, _ := json.Marshal(map[string]any{"deliver_subject": inbox, "no_consumers": true, "chunk_size": 16 << 10})
	b := &Backup{}
	if err := ask(ctx, nc, "$JS.API.STREAM.SNAPSHOT."+stream, request, b); err != nil {
		return nil, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", len(b.Chunks), err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return nil, fmt.Errorf("after chunk %d: status %s %s", len(b.Chunks), status, m.Header.Get("Description"))
			}
			return b, nil
		}
		b.Chunks = append(b.Chunks, m.Data)
		if m.Reply != "" { // the last has none
			if err := m.Respond(nil); err != nil {
				return nil, err
			}
		}
	}
}

// Restore makes the stream, which must not exist, of a backup, by the requests that the
// nats tool makes.
func (b *Backup) Restore(ctx context.Context, nc *nats.Conn, stream string) error {
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
	for i, chunk := range append(b.Chunks[:len(b.Chunks):len(b.Chunks)], nil) {
		m, err := nc.RequestWithContext(ctx, to.Subject, chunk)
		if err != nil {
			return fmt.Errorf("chunk %d of %d: %w", i, len(b.Chunks), err)
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
