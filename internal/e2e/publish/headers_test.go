package publish_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// What WIRE.md says of the headers, on a server, by a plain NATS client: a message with a
// Nats-TTL leaves the stream and one without stays; a second event under one Nats-Msg-Id is
// answered duplicate and is stored nowhere, and refuses nobody; another stream's name is refused;
// a header of another spelling is no header of the server's.
func TestWireHeaders(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	nc, js := rig.Client(t, br.URL())
	l := rig.NewList(t, rig.Quick)
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{NoHeartbeats: true}, l)
	event := func(sid string, header nats.Header) *nats.Msg {
		return &nats.Msg{Subject: bus.Subject(rig.Issuer, revoke.KindSession), Header: header, Data: fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"session","value":%q,"at":%d}`, rig.Issuer, sid, time.Now().UnixMilli())}
	}
	send := func(m *nats.Msg) *jetstream.PubAck {
		t.Helper()
		ack, err := js.PublishMsg(rig.Within(t), m)
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
	titled := nats.Header{"Nats-Ttl": {"1"}, "nats-msg-id": {"0f3a"}, "nats-expected-stream": {"OTHER"}} // as libraries for HTTP write them
	stays := send(event("titled", titled))
	if again := send(event("stays", titled)); again.Duplicate || again.Sequence != stays.Sequence+1 {
		t.Fatalf("acknowledged %+v, %+v", stays, again)
	}
	bare := send(event("bare", nil))
	leaves := send(event("leaves", nats.Header{"Nats-TTL": {"1"}, "Nats-Msg-Id": {"0f3a"}, "Nats-Expected-Stream": {bus.DefaultStream}}))
	if stays.Duplicate || leaves.Duplicate || leaves.Sequence != bare.Sequence+1 || leaves.Stream != bus.DefaultStream {
		t.Fatalf("acknowledged %+v, %+v", stays, leaves)
	}
	again := send(event("swallowed", nats.Header{"Nats-TTL": {"1h"}, "Nats-Msg-Id": {"0f3a"}}))
	if !again.Duplicate || again.Sequence != leaves.Sequence || rig.LastSequence(t, br.URL()) != leaves.Sequence {
		t.Errorf("a second event under one id: %+v", again)
	}
	if _, err := js.PublishMsg(rig.Within(t), event("elsewhere", nats.Header{"Nats-Expected-Stream": {"OTHER"}})); err == nil {
		t.Error("another stream's name is taken")
	}
	rig.Eventually(t, "the follower has both", func() bool { return rig.Refused(l, rig.Session("stays")) && rig.Refused(l, rig.Session("leaves")) })
	if rig.Refused(l, rig.Session("swallowed")) || rig.Refused(l, rig.Session("elsewhere")) {
		t.Error("what was stored nowhere refuses somebody")
	}
	s := rig.TheStream(t, js)
	rig.AskUntil(t, "the message with a TTL is gone", func(ctx context.Context) error {
		_, err := s.GetMsg(ctx, leaves.Sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		return fmt.Errorf("it is there: %v", err)
	})
	for what, seq := range map[string]uint64{"the message without one": bare.Sequence, "the one with Nats-Ttl, which is older": stays.Sequence} {
		if _, err := s.GetMsg(rig.Within(t), seq); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	rig.MustRefuse(t, l, rig.Session("titled"))
	rig.MustRefuse(t, l, rig.Session("leaves")) // what is known stays known
	if f.Status().Degraded || nc.LastError() != nil {
		t.Errorf("%+v, %v", f.Status(), nc.LastError())
	}
}
