package bus

import (
	"context"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// defaultTimeout bounds a call whose context has no deadline. It outlasts the
// election after an unclean loss of the stream's leader, 4 to 9 s.
const defaultTimeout = 15 * time.Second

type publisher struct{ b *Bus }

func (p *publisher) init(b *Bus)                               { p.b = b }
func (p *publisher) read(ctx context.Context) (streamState, error) { return p.b.readStream(ctx) }

// A Receipt proves that the stream has acknowledged an event.
type Receipt struct {
	ID       string       // of the event
	Sequence uint64       // its place in the stream
	Time     time.Time    // when the acknowledgement arrived, by the local clock
	Event    revoke.Event // as published, with what Publish filled in
}
