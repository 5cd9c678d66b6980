package publish_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/rollcall"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A whole token as the value of a revocation gets into no stream, by any of the ways that
// a publisher has.
func TestNoTokenGetsIntoTheStream(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	const jwt = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJl"
	bad, good := revoke.Event{Kind: revoke.KindToken, Value: jwt}, revoke.Event{Kind: revoke.KindToken, Value: "jti"}
	_, publish := b.Publish(rig.Within(t), bad)
	results, all := b.PublishAll(rig.Within(t), []revoke.Event{good, bad})
	_, wait := rollcall.Revoke(rig.Within(t), b, bad, rollcall.Config{})
	for way, err := range map[string]error{"Publish": publish, "PublishAll": all, "its result": results[1].Err, "rollcall.Revoke": wait} {
		if !errors.Is(err, revoke.ErrCredential) || !strings.Contains(err.Error(), "value") || strings.Contains(err.Error(), "eyJ") {
			t.Errorf("%s: %v", way, err)
		}
	}
	if n := rig.LastSequence(t, br.URL()); n != 0 {
		t.Errorf("%d messages in the stream", n)
	}
	if _, err := b.Publish(rig.Within(t), good); err != nil {
		t.Error(err)
	}
}
