package sessions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/revoke"
	tokens "github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An authority is one instance of the auth service. It shares nothing with the others but
// the bucket and the sealing key.
type authority struct {
	ring   *issue.Keyring
	issuer *issue.Issuer
	list   *revoke.List
}

func ringSeal(t *testing.T, id string) *issue.SealKey {
	t.Helper()
	secret := bytes.Repeat([]byte("seal "+id), 32)[:32]
	k, err := issue.NewSealKey(id, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func localOf(t *testing.T) *revoke.List {
	t.Helper()
	l, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func ringConfig(t *testing.T, list *revoke.List) issue.KeyringConfig {
	return issue.KeyringConfig{Issuer: rig.Issuer, SealKeys: []*issue.SealKey{ringSeal(t, "a")}, Revocations: list, RefreshInterval: 200 * time.Millisecond}
}

func openAuthority(t *testing.T, store issue.Store) *authority {
	t.Helper()
	a := &authority{list: localOf(t)}
	var err error
	if a.ring, err = issue.OpenKeyring(rig.Within(t), store, ringConfig(t, a.list)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.ring.Close() })
	if a.issuer, err = issue.NewIssuer(issue.Config{Issuer: rig.Issuer, Keys: a.ring}); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) issue(t *testing.T) string {
	t.Helper()
	issued, err := a.issuer.Issue(rig.Within(t), issue.Request{Subject: "u", Client: "c", Audience: []string{"orders"}})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Raw()
}

// verify checks raw with the keys that a serves.
func (a *authority) verify(t *testing.T, raw string) error {
	t.Helper()
	w := httptest.NewRecorder()
	a.ring.ServeHTTP(w, httptest.NewRequest("GET", "/jwks.json", nil))
	keys, err := tokens.ParseKeySet(w.Body.Bytes())
	if err != nil {
		return fmt.Errorf("what is served: %w", err)
	}
	v, err := tokens.NewVerifier(tokens.VerifierConfig{
		Issuer: rig.Issuer, Audiences: []string{"orders"}, Algorithms: []tokens.Algorithm{tokens.EdDSA}, Keys: keys, OwnIssuer: true, Revocations: a.list,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(rig.Within(t), raw)
	return err
}

func (a *authority) kids() (all []string) {
	for _, k := range a.ring.Status().Keys {
		all = append(all, string(k.State)+" "+k.Key.ID())
	}
	slices.Sort(all)
	return all
}

// agree waits until the instances serve one set, which is then returned.
func agree(t *testing.T, all ...*authority) (kids []string) {
	t.Helper()
	rig.Eventually(t, "the instances agree", func() bool {
		kids = all[0].kids()
		return !slices.ContainsFunc(all, func(a *authority) bool { return !slices.Equal(a.kids(), kids) })
	})
	return kids
}

func (a *authority) announced(t *testing.T) string {
	t.Helper()
	for _, k := range a.ring.Status().Keys {
		if k.State == "announced" {
			return k.Key.ID()
		}
	}
	t.Fatal("no key is announced")
	return ""
}

// Four instances on what might be four machines, over three servers: they find no ring and
// make one, sign with one key and verify each other's tokens, and change the ring at the
// same time, while the server that leads the bucket is killed. Afterwards they have one set,
// in which no removed key is.
func TestKeyringOnCluster(t *testing.T) {
	t.Parallel()
	c := rig.NewCluster(t, 3, nil)
	rig.CreateBucketOn(t, c)
	all := make([]*authority, 4)
	var opening sync.WaitGroup
	for i := range all {
		store := rig.OpenStore(t, rig.StoreConnection(t, c.URLs()))
		opening.Go(func() { all[i] = openAuthority(t, store) })
	}
	opening.Wait()
	if t.Failed() {
		return
	}
	first := agree(t, all...)
	if len(first) != 2 {
		t.Errorf("keys %v, want one that signs and one announced", first)
	}
	verifyAll := func() {
		t.Helper()
		for i, a := range all {
			raw := a.issue(t)
			for k, b := range all {
				if err := b.verify(t, raw); err != nil {
					t.Errorf("instance %d refuses a token of instance %d: %v", k, i, err)
				}
			}
		}
	}
	verifyAll()

	removed := map[string]bool{}
	for round := range 4 {
		active, next := all[0].ring.Active().ID(), all[0].announced(t)
		if round == 1 {
			leader := c.Leader(rig.SessionsStream)
			c.Crash(leader)
			defer c.Start(leader)
		}
		// All of them remove the active key, or, in odd rounds, half of them the announced one.
		// Whether one of them was first, and its answer lost, shows when all agree.
		var racing sync.WaitGroup
		for i, a := range all {
			kid := active
			if i%2 == 1 && round%2 == 1 {
				kid = next
			}
			removed[kid] = true
			racing.Go(func() {
				rig.AskUntil(t, "the key is removed", func(ctx context.Context) error {
					if err := a.ring.Remove(ctx, kid); err != nil && !errors.Is(err, tokens.ErrUnknownKey) {
						return err
					}
					return nil
				})
			})
		}
		racing.Wait()
		for _, kid := range agree(t, all...) {
			if removed[strings.Fields(kid)[1]] {
				t.Errorf("round %d: %s is back", round, kid)
			}
		}
		if got := len(all[0].kids()); got != 2 {
			t.Errorf("round %d: %d keys", round, got)
		}
		verifyAll()
	}
	if len(removed) < 5 {
		t.Errorf("only %d keys were removed", len(removed))
	}
}

// The store is away in the middle of a change. Each instance serves and signs with what it
// holds and says what is wrong; the change fails with an error, and succeeds when the store
// is back, for all.
func TestKeyringStoreOutage(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{})
	p := rig.NewProxy(t, br.URL())
	one, two := openAuthority(t, rig.OpenStore(t, rig.StoreConnection(t, p.URL()))), openAuthority(t, rig.OpenStore(t, rig.StoreConnection(t, br.URL())))
	before := agree(t, one, two)
	leaked := one.ring.Active().ID()

	p.Lose(func(string) bool { return true }) // what was sent arrives, and no answer comes back
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := one.ring.Remove(ctx, leaked); !errors.Is(err, issue.ErrStore) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("removed without an answer: %v", err)
	}
	br.Stop()
	p.Lose(nil)
	for i, a := range []*authority{one, two} {
		rig.Eventually(t, "the outage is told", func() bool { return errors.Is(a.ring.Status().Err, issue.ErrStore) })
		if err := a.verify(t, a.issue(t)); err != nil {
			t.Errorf("instance %d without its store: %v", i, err)
		}
		if got := a.kids(); errors.Is(a.ring.Status().Err, tokens.ErrKeysUnavailable) || len(got) != 2 {
			t.Errorf("instance %d without its store: %v, %v", i, got, a.ring.Status().Err)
		}
	}
	br.Start()
	rig.AskUntil(t, "the key is removed", func(ctx context.Context) error {
		if err := one.ring.Remove(ctx, leaked); !errors.Is(err, tokens.ErrUnknownKey) {
			return err
		}
		return nil
	})
	after := agree(t, one, two)
	if slices.Equal(before, after) || slices.ContainsFunc(after, func(k string) bool { return strings.HasSuffix(k, leaked) }) {
		t.Errorf("keys %v, before %v, without %s", after, before, leaked)
	}
	rig.Eventually(t, "all is well again", func() bool { return one.ring.Status().Err == nil && two.ring.Status().Err == nil })
	if err := two.verify(t, one.issue(t)); err != nil {
		t.Error(err)
	}
}

// The bucket is put back to a backup. While an instance runs it gives back the ring that it
// has; when nobody does, a key that was revoked since is not loaded by those that come, for
// they know the List.
func TestKeyringFromBackup(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	one := openAuthority(t, rig.OpenStore(t, rig.StoreConnection(t, br.URL())))
	old := one.issue(t)
	b, err := rig.BackUp(rig.Within(t), nc, rig.SessionsStream)
	if err != nil {
		t.Fatal(err)
	}
	restore := func() {
		t.Helper()
		if err := js.DeleteStream(rig.Within(t), rig.SessionsStream); err != nil {
			t.Fatal(err)
		}
		if err := b.Restore(rig.Within(t), nc, rig.SessionsStream); err != nil {
			t.Fatal(err)
		}
	}
	leaked, next := one.ring.Active(), one.announced(t)
	event := leaked.Revocation()
	event.Issuer = rig.Issuer
	if err := one.list.Apply(revoke.Now(), event); err != nil {
		t.Fatal(err)
	}
	if err := one.verify(t, old); !errors.Is(err, tokens.ErrInvalidToken) {
		t.Errorf("a token of the revoked key: %v", err)
	}
	if got := one.ring.Active().ID(); got != next {
		t.Errorf("%s signs, announced was %s", got, next)
	}
	var before []string
	rig.Eventually(t, "the store knows", func() bool { before = one.kids(); return len(before) == 2 })
	if err := one.ring.Refresh(rig.Within(t)); err != nil {
		t.Fatal(err)
	}

	restore()
	rig.AskUntil(t, "the ring is put back", one.ring.Refresh)
	late := openAuthority(t, rig.OpenStore(t, rig.StoreConnection(t, br.URL()))) // which knows of no revocation
	if got := late.kids(); !slices.Equal(got, before) {
		t.Errorf("after a restore while one ran: %v, want %v", got, before)
	}
	one.ring.Close()
	late.ring.Close()

	restore()
	store := rig.OpenStore(t, rig.StoreConnection(t, br.URL()))
	back, err := issue.OpenKeyring(rig.Within(t), store, ringConfig(t, one.list))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	again := &authority{ring: back, list: one.list}
	if got := strings.Join(again.kids(), " "); strings.Contains(got, leaked.ID()) || back.Active().ID() != next || len(again.kids()) != 2 {
		t.Errorf("after a restore while nobody ran: %s, without %s", got, leaked.ID())
	}
	other := openAuthority(t, store) // what is stored is without it, too
	if got := strings.Join(other.kids(), " "); strings.Contains(got, leaked.ID()) {
		t.Errorf("stored: %s", got)
	}
}

// Anyone who can write to the bucket and has no sealing key can make nothing of a ring: bytes
// that were changed, another key's ring and another issuer's are refused by an instance that
// starts, and one that runs goes on with what it holds.
func TestKeyringTampered(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	store := rig.OpenStore(t, nc)
	running := openAuthority(t, store)
	mine := ringRecord(t, nc, store)

	const other = "https://auth.example.org"
	cfg := ringConfig(t, nil)
	cfg.Issuer = other
	theirs, err := issue.OpenKeyring(rig.Within(t), store, cfg) // in the same bucket, with the same sealing key
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	another := ringRecord(t, nc, store, mine.key)

	raw, err := store.Load(rig.Within(t), mine.key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw.Value, []byte("pkcs8")) || bytes.Contains(raw.Value, []byte(running.ring.Active().ID())) {
		t.Error("the ring is not sealed")
	}
	if ttl := mine.header.Get(jetstream.MsgTTLHeader); ttl != "" {
		t.Errorf("the ring lives for %s, want for ever", ttl)
	}
	flipped := bytes.Clone(raw.Value)
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string][]byte{"a byte changed": flipped, "cut short": raw.Value[:len(raw.Value)/2], "empty": {}, "another issuer's": another.value, "text": []byte("{}")} {
		now, err := store.Load(rig.Within(t), mine.key)
		if err != nil {
			t.Fatal(err)
		}
		n, err := store.Save(rig.Within(t), mine.key, bad, now.Revision, refreshNever)
		if err != nil {
			t.Fatal(err)
		}
		if ring, err := issue.OpenKeyring(rig.Within(t), store, ringConfig(t, nil)); !errors.Is(err, issue.ErrStoreCorrupt) {
			t.Errorf("%s: opened %v, error %v", name, ring, err)
		}
		if err := running.ring.Refresh(rig.Within(t)); !errors.Is(err, issue.ErrStoreCorrupt) {
			t.Errorf("%s: read again: %v", name, err)
		}
		if err := running.verify(t, running.issue(t)); err != nil {
			t.Errorf("%s: what runs: %v", name, err)
		}
		if _, err := store.Save(rig.Within(t), mine.key, raw.Value, n, refreshNever); err != nil {
			t.Fatal(err)
		}
		if err := running.ring.Refresh(rig.Within(t)); err != nil {
			t.Errorf("%s: mended: %v", name, err)
		}
	}
	cfg = ringConfig(t, nil)
	cfg.SealKeys = []*issue.SealKey{ringSeal(t, "b")}
	if _, err := issue.OpenKeyring(rig.Within(t), store, cfg); !errors.Is(err, issue.ErrStoreCorrupt) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("another sealing key: %v", err)
	}
}

var refreshNever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

type bucketRecord struct {
	key    string
	value  []byte
	header nats.Header
}

// ringRecord returns the one record of a ring in the bucket, but for those.
func ringRecord(t *testing.T, nc *nats.Conn, store refresh.Store, but ...string) bucketRecord {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream := rig.StreamNamed(t, js, rig.SessionsStream)
	const prefix = "$KV.sessions."
	info, err := stream.Info(rig.Within(t), jetstream.WithSubjectFilter(prefix+"ring.*"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for subject := range info.State.Subjects {
		if key := strings.TrimPrefix(subject, prefix); !slices.Contains(but, key) {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		t.Fatalf("rings %v, want one", found)
	}
	m, err := stream.GetLastMsgForSubject(rig.Within(t), prefix+found[0])
	if err != nil {
		t.Fatal(err)
	}
	return bucketRecord{found[0], m.Data, m.Header}
}

// A bucket that is full of sessions does not stop the rotation of keys, nor a service that
// starts from making its first ring.
func TestKeyringInFullBucket(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{MaxBytes: 1 << 20})
	sessions := rig.OpenStore(t, nc)
	a := openAuthority(t, rig.OpenStore(t, rig.StoreConnection(t, br.URL())))
	value := strings.Repeat("s", 8<<10)
	kept := map[string]uint64{}
	for i := 0; ; i++ {
		key := fmt.Sprint("s.", i)
		n, err := sessions.Save(rig.Within(t), key, []byte(value), 0, later())
		if errors.Is(err, natskv.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kept[key] = n
	}
	refused := 0
	for key, n := range kept { // they grow until that is refused, too
		if _, err := sessions.Save(rig.Within(t), key, []byte(value+value), n, later()); errors.Is(err, natskv.ErrFull) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) < 20 || refused == 0 {
		t.Errorf("%d sessions, of which %d could not grow: the bucket is not full", len(kept), refused)
	}
	for range 5 {
		if err := a.ring.Remove(rig.Within(t), a.ring.Active().ID()); err != nil {
			t.Fatalf("in a full bucket: %v", err)
		}
	}
	cfg := ringConfig(t, nil)
	cfg.Issuer = "https://auth.example.org"
	ring, err := issue.OpenKeyring(rig.Within(t), sessions, cfg)
	if err != nil {
		t.Fatalf("a first ring in a full bucket: %v", err)
	}
	ring.Close()
}
