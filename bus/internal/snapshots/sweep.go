package snapshots

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
)

// Grace is how long an object stays after it was stored and is no longer the newest: readers
// that have been pointed to it are done by then, and so is who was storing it.
const Grace = time.Hour

// Sweep removes objects but that of the name keep, and chunks that belong to no object, which
// were stored longer than grace ago, by the server's clock. It returns how many.
func (b *Bucket) Sweep(ctx context.Context, keep string, grace time.Duration) (removed int, err error) {
	l, err := b.link()
	if err != nil {
		return 0, err
	}
	api := jetstream.DefaultAPIPrefix + "STREAM.INFO." + b.objects()
	before := l.Conn.LastError()
	info, err := transport.Attempt(ctx, l, storeTimeout, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		s, err := l.JetStream.Stream(ctx, b.objects())
		if err != nil {
			return nil, err
		}
		return s.Info(ctx, jetstream.WithSubjectFilter("$O."+b.name+".>"))
	})
	if err != nil {
		return 0, b.explain(err, before, api)
	}
	const metaToken = ".M."
	metas, chunks := "$O."+b.name+metaToken, b.chunks("")
	used := map[string]bool{}
	for subject := range info.State.Subjects {
		encoded, ok := strings.CutPrefix(subject, metas)
		if !ok {
			continue
		}
		m, err := b.last(ctx, b.objects(), subject)
		if err != nil {
			return removed, err
		}
		o, bad := decodeInfo(m.data)
		name, _ := base64.URLEncoding.DecodeString(encoded)
		if m.sequence == 0 || info.TimeStamp.Sub(m.at) <= grace || string(name) == keep && bad == nil {
			used[o.id] = true
			continue
		}
		// First what says that it is there: who looks then finds none, and waits for no
		// chunk. Its chunks are removed below.
		if err := b.purge(ctx, subject); err != nil {
			return removed, err
		}
		removed++
	}
	var failed error
	for subject := range info.State.Subjects {
		id, ok := strings.CutPrefix(subject, chunks)
		if !ok || used[id] {
			continue
		}
		m, err := b.last(ctx, b.objects(), subject)
		if err == nil && m.sequence != 0 && info.TimeStamp.Sub(m.at) > grace {
			err = b.purge(ctx, subject)
		}
		failed = errors.Join(failed, err)
	}
	if failed != nil {
		return removed, fmt.Errorf("bus: snapshots: sweep: %w", failed)
	}
	return removed, nil
}
