package e2e_test

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
	"github.com/hybridtoken/hybridtoken/revoke"
)

func trustOf(keys ...ed25519.PublicKey) []ed25519.PublicKey { return keys }

func signingKey(n byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	return k, k.Public().(ed25519.PublicKey)
}

// Who holds every right to publish and no key revokes no user, no client, no tenant, no
// key and no issuer, makes nobody stale, and cannot use what others have signed. What he
// may revoke are tokens and sessions whose ids he knows.
func TestTrust(t *testing.T) {
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	key, public := signingKey(1)
	other, _ := signingKey(2)
	trusting := []ed25519.PublicKey{public}
	l := newList(t, quick)
	l.ExpectIssuer(issuer) // so that critical marks could count
	f := join(t, dial(t, br.url()), bus.Config{Trust: trusting}, l)
	waitFresh(t, f)

	user := func(sub string, issued time.Duration) revoke.Identity {
		id := session("s-" + sub)
		id.Subject, id.IssuedAt = sub, time.Now().Add(issued)
		return id
	}
	// The good twin, and the same by a publisher without the key.
	good := join(t, dial(t, br.url()), bus.Config{Signer: key, Trust: trusting}, nil)
	r := publish(t, good, revoke.Event{Kind: revoke.KindSubject, Value: "banned"})
	forger := join(t, dial(t, br.url()), bus.Config{Signer: other}, nil)
	publish(t, forger, revoke.Event{Kind: revoke.KindSubject, Value: "victim"})
	naive := join(t, dial(t, br.url()), bus.Config{}, nil)
	publish(t, naive, revoke.Event{Kind: revoke.KindSubject, Value: "victim"})
	publish(t, naive, revoke.Event{Kind: revoke.KindSession, Value: "logged-out"})
	barrier(t, f)
	mustRefuse(t, l, user("banned", -time.Minute), session("logged-out"))
	mustPass(t, l, user("victim", -time.Minute))
	if n := l.Stats(revoke.Now()).Faults[revoke.FaultUnsigned]; n != 2 {
		t.Errorf("%d unsigned events counted, want 2", n)
	}
	// It would be ignored everywhere, so it is refused here.
	follower := join(t, dial(t, br.url()), bus.Config{Trust: trusting}, nil)
	if _, err := follower.Publish(within(t), revoke.Event{Kind: revoke.KindSubject, Value: "x"}); !errors.Is(err, revoke.ErrInvalidEvent) {
		t.Errorf("unsigned and published: %v", err)
	}
	publish(t, follower, revoke.Event{Kind: revoke.KindToken, Value: "jti"})

	// The same by hand: what was signed is moved, changed, stripped and stored again.
	_, js := plain(t, br.url())
	s := theStream(t, js)
	stored, err := s.GetMsg(within(t), r.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	signature := stored.Header.Get(bus.SignatureHeader)
	if signature == "" {
		t.Fatal("the stored event carries no signature")
	}
	subject := bus.Subject(issuer, revoke.KindSubject)
	other2 := bus.Subject(issuer, revoke.KindSubject)[:len(subject)-len("subject")] + "planet"
	signed := nats.Header{bus.SignatureHeader: {signature}}
	before := l.Stats(revoke.Now())
	unsigned := uint64(0)
	for _, m := range []*nats.Msg{
		{Subject: subject, Data: stored.Data},
		{Subject: subject, Data: bytes.Replace(stored.Data, []byte("banned"), []byte("victim"), 1), Header: signed},
		{Subject: subject, Data: bytes.Replace(stored.Data, []byte(`"v":1`), []byte(`"v":1 `), 1), Header: signed},
		{Subject: bus.Subject(issuer, revoke.KindClient), Data: bytes.Replace(stored.Data, []byte(`"subject"`), []byte(`"client"`), 1), Header: signed},
		{Subject: subject, Data: stored.Data, Header: nats.Header{bus.SignatureHeader: {signature, signature}}},
		{Subject: bus.Subject(issuer, revoke.KindIssuer), Data: fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"issuer"}`, issuer)},
		// Nobody becomes stale by a mark that nobody has signed.
		{Subject: other2, Data: fmt.Appendf(nil, `{"v":1,"iss":%q,"kind":"planet","value":"x","critical":true}`, issuer)},
		{Subject: subject, Data: fmt.Appendf(nil, `{"v":2,"critical":true}`)},
	} {
		if _, err := js.PublishMsg(within(t), m); err != nil {
			t.Fatal(err)
		}
		unsigned++
	}
	// As it was signed, an hour later: it revokes what it did, and who logged in since
	// passes.
	if _, err := js.PublishMsg(within(t), &nats.Msg{Subject: subject, Data: stored.Data, Header: signed}); err != nil {
		t.Fatal(err)
	}
	barrier(t, f)
	now := l.Stats(revoke.Now())
	if n := now.Faults[revoke.FaultUnsigned] - before.Faults[revoke.FaultUnsigned]; n != unsigned {
		t.Errorf("%d unsigned, want %d; %v", n, unsigned, now.Faults)
	}
	if n := now.Applied[revoke.KindSubject] - before.Applied[revoke.KindSubject]; n != 1 {
		t.Errorf("%d subject events applied, want the one that is signed", n)
	}
	mustPass(t, l, user("victim", -time.Minute), user("banned", time.Until(r.Event.Before)+time.Second))
	if st := f.Status(); st.State != revoke.StateFresh || !st.Degraded {
		t.Errorf("status %+v", st)
	}
	// The good twin of the critical mark: its author may stop services.
	critical := &nats.Msg{Subject: subject, Data: []byte(`{"v":2,"critical":true}`)}
	critical.Header = nats.Header{bus.SignatureHeader: {sign(key, signature[:16], critical)}}
	if _, err := js.PublishMsg(within(t), critical); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a signed critical mark counts", func() bool {
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
	br := newBroker(t, nil)
	createStream(t, dial(t, br.url()), bus.StreamConfig{})
	oldKey, oldPublic := signingKey(1)
	newKey, newPublic := signingKey(2)
	publish(t, join(t, dial(t, br.url()), bus.Config{Signer: oldKey}, nil), revoke.Event{Kind: revoke.KindClient, Value: "one"})
	publish(t, join(t, dial(t, br.url()), bus.Config{Signer: newKey}, nil), revoke.Event{Kind: revoke.KindClient, Value: "two"})
	app := func(name string) revoke.Identity {
		id := session("s-" + name)
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
		l := newList(t, quick)
		f := join(t, dial(t, br.url()), bus.Config{Trust: c.trust}, l)
		waitFresh(t, f)
		for _, name := range c.dead {
			mustRefuse(t, l, app(name))
		}
		for _, name := range c.alive {
			mustPass(t, l, app(name))
		}
		// Of batches and of republished events the signature is kept.
		if n := l.Stats(revoke.Now()).Faults[revoke.FaultUnsigned]; n != uint64(len(c.alive)) {
			t.Errorf("%d unsigned with %d keys", n, len(c.trust))
		}
	}
}

// What a stream lost and a publisher stores again is signed as it was.
func TestTrustRepublished(t *testing.T) {
	br := newBroker(t, nil)
	conn := dial(t, br.url())
	createStream(t, conn, bus.StreamConfig{})
	key, public := signingKey(1)
	b := join(t, dial(t, br.url()), bus.Config{Signer: key, Trust: []ed25519.PublicKey{public}}, nil)
	results, err := b.PublishAll(within(t), []revoke.Event{{Kind: revoke.KindTenant, Value: "acme"}, {Kind: revoke.KindSession, Value: "s"}})
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	_, js := plain(t, br.url())
	if err := js.DeleteStream(within(t), bus.DefaultStream); err != nil {
		t.Fatal(err)
	}
	createStream(t, conn, bus.StreamConfig{})
	publish(t, b, revoke.Event{Kind: revoke.KindSession, Value: "next"})
	eventually(t, "republished", func() bool { s := b.Status().Publishing; return s.Republished >= 2 && s.Pending == 0 })
	l := newList(t, quick)
	waitFresh(t, join(t, dial(t, br.url()), bus.Config{Trust: []ed25519.PublicKey{public}}, l))
	id := session("other")
	id.Tenant, id.IssuedAt = "acme", time.Now().Add(-time.Minute)
	mustRefuse(t, l, id, session("s"))
}
