package krakend

import (
	"context"
	"fmt"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// kinds are what the claims in token_keys become.
var kinds = map[string]revoke.Kind{
	"jti":       revoke.KindToken,
	"sid":       revoke.KindSession,
	"sub":       revoke.KindSubject, // until now: the next login passes
	"client_id": revoke.KindClient,
	"tenant":    revoke.KindTenant,
}

// Publish tells the stream, once: who is down or new reads it there.
func Publish(ctx context.Context, member *bus.Member, claim, value string) (revoke.Receipt, error) {
	kind, ok := kinds[claim]
	if !ok {
		return revoke.Receipt{}, fmt.Errorf("nothing is revoked by the claim %q", claim)
	}
	return member.Publish(ctx, revoke.Event{Kind: kind, Value: value, Reason: "revoked"})
}
