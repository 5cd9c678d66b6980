package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
)

// The servers have two accounts, as examples/nats has them but for the users' rights:
// the stream, its publishers and the members that beat are in one, and some verifiers
// follow a mirror in the other, by the heartbeats that cross it.
const accounts = `
accounts {
  AUTH {
    jetstream: enabled
    users: [ { user: auth, password: chaos } ]
    exports: [
      { service: "$JS.API.CONSUMER.CREATE.REVOCATIONS", accounts: [VERIFIERS] }
      { service: "$JS.FC.REVOCATIONS.>", accounts: [VERIFIERS] }
      { stream: "mirror.verifiers.>", accounts: [VERIFIERS] }
    ]
  }
  VERIFIERS {
    jetstream: enabled
    users: [ { user: verifier, password: chaos } ]
    imports: [
      { service: { account: AUTH, subject: "$JS.API.CONSUMER.CREATE.REVOCATIONS" }, to: "JS.auth.API.CONSUMER.CREATE.REVOCATIONS" }
      { service: { account: AUTH, subject: "$JS.FC.REVOCATIONS.>" } }
      { stream: { account: AUTH, subject: "mirror.verifiers.>" } }
    ]
  }
}
`

const (
	originUser = "auth"
	mirrorUser = "verifier"

	originAccount = "AUTH"
	mirrorName    = bus.DefaultStream + "_MIRROR"
)

// as is how that user connects.
func as(user string) nats.Option { return nats.UserInfo(user, "chaos") }

// behind reports whether the verifier of that number, counted from 0, follows the mirror.
func (cfg *config) behind(i int) bool { return i < cfg.mirrored }

// remakeMirror makes the mirror anew, of the stream as it is now.
func (c *cluster) remakeMirror(ctx context.Context) error {
	if c.cfg.mirrored == 0 {
		return nil
	}
	return c.anyServer(ctx, "make the mirror", func(ctx context.Context, i int) error {
		var mirror jetstream.StreamConfig
		err := c.admin(ctx, i, originUser, func(ctx context.Context, _ *nats.Conn, js jetstream.JetStream) error {
			origin, err := js.Stream(ctx, bus.DefaultStream)
			if err == nil {
				mirror = origin.CachedInfo().Config
			}
			return err
		})
		if err != nil {
			return err
		}
		mirror.Name, mirror.Subjects, mirror.AllowDirect = mirrorName, nil, false
		mirror.Duplicates, mirror.AllowAtomicPublish = 0, false
		mirror.Mirror = &jetstream.StreamSource{
			Name:     bus.DefaultStream,
			External: &jetstream.ExternalStream{APIPrefix: "JS.auth.API", DeliverPrefix: "mirror.verifiers"},
		}
		return c.admin(ctx, i, mirrorUser, func(ctx context.Context, _ *nats.Conn, js jetstream.JetStream) error {
			if err := js.DeleteStream(ctx, mirrorName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return err
			}
			_, err := js.CreateStream(ctx, mirror)
			return err
		})
	})
}

// mirrorLast returns the sequence of the mirror's last message.
func (c *cluster) mirrorLast(ctx context.Context) (last uint64, err error) {
	err = c.anyServer(ctx, "ask for the mirror", func(ctx context.Context, i int) error {
		return c.admin(ctx, i, mirrorUser, func(ctx context.Context, _ *nats.Conn, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, mirrorName)
			if err != nil {
				return err
			}
			info := s.CachedInfo()
			if info.Cluster == nil || info.Cluster.Leader == "" {
				return errNoLeader
			}
			last = info.State.LastSeq
			return nil
		})
	})
	return last, err
}

// raftGroup returns the name under which the servers keep the stream's Raft log.
func (c *cluster) raftGroup(ctx context.Context) (name string, err error) {
	err = c.anyServer(ctx, "ask for the stream", func(ctx context.Context, i int) error {
		return c.admin(ctx, i, originUser, func(ctx context.Context, _ *nats.Conn, js jetstream.JetStream) error {
			s, err := js.Stream(ctx, bus.DefaultStream)
			if err != nil {
				return err
			}
			if cl := s.CachedInfo().Cluster; cl != nil {
				name = cl.RaftGroup
			}
			if name == "" {
				return errNoLeader
			}
			return nil
		})
	})
	return name, err
}

// anyServer calls f with one server after the other until it succeeds, for a minute.
func (c *cluster) anyServer(ctx context.Context, what string, f func(context.Context, int) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		for i := range servers {
			if last = f(ctx, i); last == nil {
				return nil
			}
		}
		_ = sleep(ctx, 200*time.Millisecond)
	}
	return fmt.Errorf("%s: %w", what, last)
}
