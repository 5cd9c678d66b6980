package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Copy publishes what the denylist in Redis holds. It may be run again: events only add.
func Copy(ctx context.Context, rdb *redis.Client, member *bus.Member) (copied int, err error) {
	unusable := 0
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
		switch _, err := member.Publish(ctx, event); {
		case errors.Is(err, revoke.ErrInvalidEvent): // such as of a token without a jti; the others go on
			unusable++
		case err != nil:
			return copied, errors.Join(errors.New("run it again"), err)
		default:
			copied++
		}
	}
	if err := keys.Err(); err != nil || unusable == 0 {
		return copied, err
	}
	return copied, fmt.Errorf("keys that hold no jti, and revoke nothing here: %d", unusable)
}
