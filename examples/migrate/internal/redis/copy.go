package redis

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Copy publishes what the denylist in Redis holds. It may be run again: events only add.
func Copy(ctx context.Context, rdb *redis.Client, member *bus.Member) (copied int, err error) {
	keys := rdb.Scan(ctx, 0, "revoked:*", 1000).Iterator()
	for keys.Next(ctx) {
		left, err := rdb.PTTL(ctx, keys.Val()).Result()
		if err != nil {
			return copied, err
		}
		event := revoke.Event{Kind: revoke.KindToken, Value: strings.TrimPrefix(keys.Val(), "revoked:"), Reason: "copied"}
		switch {
		case left == -2: // it expired meanwhile
			continue
		case left > 0: // -1 is a key without an expiry: the longest that a token lives will do
			event.Until = time.Now().Add(left)
		}
		if _, err := member.Publish(ctx, event); err != nil {
			return copied, errors.Join(errors.New("run it again"), err)
		}
		copied++
	}
	return copied, keys.Err()
}
