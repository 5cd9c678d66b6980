package follow_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Who holds every right to publish and no key revokes no user, no client, no tenant, no
// key and no issuer, makes nobody stale, and cannot use what others have signed. What he
// may revoke are tokens and sessions whose ids he knows.
func TestTrust(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	key, public := rig.SigningKey(1)
	other, _ := rig.SigningKey(2)
	trusting := []ed25519.PublicKey{public}
	l := rig.NewList(t, rig.Quick)
	l.ExpectIssuer(rig.Issuer) // so that critical marks could count
	f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: trusting}, l)
	rig.WaitFresh(t, f)

	user := func(sub string, issued time.Duration) revoke.Identity {
		id := rig.Session("s-" + sub)
		id.Subject, id.IssuedAt = sub, time.Now().Add(issued)
		return id
	}
	// The good twin, and the same by a publisher without the key.
	good := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Signer: key, Trust: trusting}, nil)
	r := rig.Publish(t, good, revoke.Event{Kind: revoke.KindSubject, Value: "banned"})
	forger := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Signer: other}, nil)
	rig.Publish(t, forger, revoke.Event{Kind: revoke.KindSubject, Value: "victim"})
	naive := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{}, nil)
	rig.Publish(t, naive, revoke.Event{Kind: revoke.KindSubject, Value: "victim"})
	rig.Publish(t, naive, revoke.Event{Kind: revoke.KindSession, Value: "logged-out"})
	rig.Barrier(t, f)
	rig.MustRefuse(t, l, user("banned", -time.Minute), rig.Session("logged-out"))
	rig.MustPass(t, l, user("victim", -time.Minute))
	if n := l.Stats(revoke.Now()).Faults[revoke.FaultUnsigned]; n != 2 {
		t.Errorf("%d unsigned events counted, want 2", n)
	}
	// It would be ignored everywhere, so it is refused here.
	follower := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: trusting}, nil)
	if _, err := follower.Publish(rig.Within(t), revoke.Event{Kind: revoke.KindSubject, Value: "x"}); !errors.Is(err, revoke.ErrInvalidEvent) {
		t.Errorf("unsigned and published: %v", err)
	}
	rig.Publish(t, follower, revoke.Event{Kind: revoke.KindToken, Value: "jti"})

	// The same by hand: what was signed is moved, changed, stripped and stored again.
	_, js := rig.Client(t, br.URL())
	s := rig.TheStream(t, js)
	stored, err := s.GetMsg(rig.Within(t), r.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	signature := stored.Header.Get(bus.SignatureHeader)
	if signature == "" {
		t.Fatal("the stored event carries no signature")
	}
	subject := bus.Subject(rig.Issuer, revoke.KindSubject)
	other2 := bus.Subject(rig.Issuer, revoke.KindSubject)[:len(subject)-len("subject")] + "planet"
	signed := nats.Header{bus.SignatureHeader: {signature}}
	before := l.Stats(revoke.Now())
	unsigned := uint64(0)
	for _, m := range []*nats.Msg{
		{Subject: subject, Data: stored.Data},
		{Subject: subject, Data: bytes.Replace(stored.Data, []byte("banned"), []byte("victim"), 1), Header: signed},
		{Subject: subject, Data: bytes.Replace(stored.Data, []byte(`"v":1`), []byte(`"v":1 `), 1), Header: signed},
		{Subject: bus.Subject(rig.Issuer, revoke.KindClient), Data: bytes.Replace(stored.Data, []byte(`"subject"`), []byte(`"client"`), 1), Header: signed},
		{Subject: subject, Data: stored.Data, Header: nats.Header{bus.SignatureHeader: {signature, signature}}},
		{Subject: bus.Subject(rig.Issuer, revoke.KindIssuer), Data: fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"issuer"}`, rig.Issuer)},
		// Nobody becomes stale by a mark that nobody has signed.
		{Subject: other2, Data: fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"planet","value":"x","critical":true}`, rig.Issuer)},
		{Subject: subject, Data: fmt.Appendf(nil, `{"v":2,"critical":true}`)},
	} {
		if _, err := js.PublishMsg(rig.Within(t), m); err != nil {
			t.Fatal(err)
		}
		unsigned++
	}
	// As it was signed, an hour later: it revokes what it did, and who logged in since
	// passes.
	if _, err := js.PublishMsg(rig.Within(t), &nats.Msg{Subject: subject, Data: stored.Data, Header: signed}); err != nil {
		t.Fatal(err)
	}
	rig.Barrier(t, f)
	now := l.Stats(revoke.Now())
	if n := now.Faults[revoke.FaultUnsigned] - before.Faults[revoke.FaultUnsigned]; n != unsigned {
		t.Errorf("%d unsigned, want %d; %v", n, unsigned, now.Faults)
	}
	if n := now.Applied[revoke.KindSubject] - before.Applied[revoke.KindSubject]; n != 1 {
		t.Errorf("%d subject events applied, want the one that is signed", n)
	}
	rig.MustPass(t, l, user("victim", -time.Minute), user("banned", time.Until(r.Event.Before)+time.Second))
	if st := f.Status(); st.State != revoke.StateFresh || !st.Degraded {
		t.Errorf("status %+v", st)
	}
	// The good twin of the critical mark: its author may stop services.
	critical := &nats.Msg{Subject: subject, Data: []byte(`{"v":2,"critical":true}`)}
	critical.Header = nats.Header{bus.SignatureHeader: {sign(key, signature[:16], critical)}}
	if _, err := js.PublishMsg(rig.Within(t), critical); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, "a signed critical mark counts", func() bool {
		return f.Status().State == revoke.StateStale && f.Status().Reason == revoke.ReasonCritical
	})
}

// sign is written after the documentation, not after the code.
func sign(key ed25519.PrivateKey, id string, m *nats.Msg) string {
	text := append([]byte("hybridtoken revocation 1\x00"+m.Subject+"\x00"), m.Data...)
	return id + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, text))
}

// A key is exchanged without a gap: followers that know both, then a publisher with the
// new one, then followers without the old one. What was signed before and is replayed
// counts as long as the old key is trusted, and not after.
func TestTrustRotation(t *testing.T) {
	br := rig.NewBroker(t, nil)
	rig.CreateStream(t, rig.Dial(t, br.URL()), bus.StreamConfig{})
	oldKey, oldPublic := rig.SigningKey(1)
	newKey, newPublic := rig.SigningKey(2)
	rig.Publish(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Signer: oldKey}, nil), revoke.Event{Kind: revoke.KindClient, Value: "one"})
	rig.Publish(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Signer: newKey}, nil), revoke.Event{Kind: revoke.KindClient, Value: "two"})
	app := func(name string) revoke.Identity {
		id := rig.Session("s-" + name)
		id.Client, id.IssuedAt = name, time.Now().Add(-time.Minute)
		return id
	}
	for _, c := range []struct {
		trust []ed25519.PublicKey
		dead  []string
		alive []string
	}{
		{[]ed25519.PublicKey{oldPublic}, []string{"one"}, []string{"two"}},
		{[]ed25519.PublicKey{oldPublic, newPublic}, []string{"one", "two"}, nil},
		{[]ed25519.PublicKey{newPublic}, []string{"two"}, []string{"one"}},
		{nil, []string{"one", "two"}, nil},
	} {
		l := rig.NewList(t, rig.Quick)
		f := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: c.trust}, l)
		rig.WaitFresh(t, f)
		for _, name := range c.dead {
			rig.MustRefuse(t, l, app(name))
		}
		for _, name := range c.alive {
			rig.MustPass(t, l, app(name))
		}
		// Of batches and of republished events the signature is kept.
		if n := l.Stats(revoke.Now()).Faults[revoke.FaultUnsigned]; n != uint64(len(c.alive)) {
			t.Errorf("%d unsigned with %d keys", n, len(c.trust))
		}
	}
}

// What a stream lost and a publisher stores again is signed as it was.
func TestTrustRepublished(t *testing.T) {
	br := rig.NewBroker(t, nil)
	conn := rig.Dial(t, br.URL())
	rig.CreateStream(t, conn, bus.StreamConfig{})
	key, public := rig.SigningKey(1)
	b := rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Signer: key, Trust: []ed25519.PublicKey{public}}, nil)
	results, err := b.PublishAll(rig.Within(t), []revoke.Event{{Kind: revoke.KindTenant, Value: "acme"}, {Kind: revoke.KindSession, Value: "s"}})
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	_, js := rig.Client(t, br.URL())
	if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	rig.CreateStream(t, conn, bus.StreamConfig{})
	rig.Publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "next"})
	rig.Eventually(t, "republished", func() bool { s := b.Status().Publishing; return s.Republished >= 2 && s.Pending == 0 })
	l := rig.NewList(t, rig.Quick)
	rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL()), bus.Config{Trust: []ed25519.PublicKey{public}}, l))
	id := rig.Session("other")
	id.Tenant, id.IssuedAt = "acme", time.Now().Add(-time.Minute)
	rig.MustRefuse(t, l, id, rig.Session("s"))
}
