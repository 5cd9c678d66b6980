package redis

import (
	"context"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// RevokeToken is what Revoke was. Nothing replaces Revoked: the Verifier looks in its own memory.
func RevokeToken(ctx context.Context, member *bus.Member, claims *token.Claims) error {
	event, err := revoke.TokenOf(claims.Identity())
	if err != nil {
		return err
	}
	event.Reason = "logout"
	_, err = member.Publish(ctx, event)
	return err // not nil: not revoked
}

// RevokeUser is what a denylist of single tokens cannot do: all tokens that a user has until now.
func RevokeUser(ctx context.Context, member *bus.Member, user string) (revoke.Receipt, error) {
	return member.Publish(ctx, revoke.Event{Kind: revoke.KindSubject, Value: user, Reason: "password_change"})
}
