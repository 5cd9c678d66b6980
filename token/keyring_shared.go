package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// maxSteps bounds the reads of the store in one go: three make a change and see it
// in the store, the rest is for conflicts.
const maxSteps = 20

var errRingClosed = errors.New("keyring closed")

// A sharedRing is what a ring with a store has beside the others.
type sharedRing struct {
	store  KeyStore
	plan   plan
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	err    atomic.Pointer[error] // of the last refresh
	last   atomic.Pointer[decodedBlob]
}

// A decodedBlob remembers what a blob holds: most reads find it unchanged.
type decodedBlob struct {
	digest [sha256.Size]byte
	set    *ringSet
	sealer string // the id of the key that sealed it, or empty
}

// OpenKeyring returns the ring in store, which all instances of a service share: they
// sign with one key and serve one set. If the store is empty it begins with a new
// key, or [KeyringConfig].FirstKey, which signs at once. Close it at the end.
//
// A key is announced, then active, then retired, then gone, by schedule and by
// [Keyring.Rotate]. Any instance takes the step that is due; the store's
// compare-and-set decides whose counts, and times run from when a state was seen in
// the store. So there is no gap, while clocks and configurations agree as
// [KeyringConfig] says and the store forgets nothing: no token is signed with a key
// that a verifier which follows MaxAge could not know by then, and no key is gone
// while a token of its may be unexpired. One key is always announced, for
// emergencies: see [Keyring.Remove].
//
// The error matches [ErrKeyStore] if the store cannot be read or written, and
// [ErrKeyStoreCorrupt] if it holds what is no ring or cannot be opened. Later
// failures are logged, shown by [Keyring.Status] and retried; the instance goes on
// with what it knows for as long as that is safe, see [KeyringConfig].AnnounceFor,
// and then fails with [ErrKeysUnavailable]. A store that lost the newest ring is given
// it back by an instance that runs; to begin anew, stop all of them first.
func OpenKeyring(ctx context.Context, store KeyStore, cfg KeyringConfig) (*Keyring, error) {
	if store == nil {
		return nil, errors.New("token: OpenKeyring: the store is nil")
	}
	if err := usableContext(ctx); err != nil {
		return nil, fmt.Errorf("token: opening the keyring: %w", err)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	shared := &sharedRing{store: store}
	shared.plan = cfg.plan()
	shared.ctx, shared.cancel = context.WithCancel(context.Background())
	r := &Keyring{cfg: cfg, shared: shared}
	err = r.refresh(ctx, nil)
	if err == nil && len(cfg.SealKeys) > 0 && shared.last.Load().sealer != cfg.SealKeys[0].id {
		err = r.refresh(ctx, func(*ringSet) error { return nil }) // seals it anew
	}
	if err != nil {
		shared.cancel()
		return nil, fmt.Errorf("token: opening the keyring: %w", err)
	}
	if len(cfg.SealKeys) == 0 {
		cfg.Logger.Warn("token: the keyring is stored without a seal: whoever reads the store can issue tokens")
	}
	shared.done.Go(r.follow)
	return r, nil
}

func (s *sharedRing) close() {
	s.cancel()
	s.done.Wait()
}

func (s *sharedRing) failure() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// follow keeps up with the store until Close.
func (r *Keyring) follow() {
	timer := time.NewTimer(r.cfg.RefreshInterval)
	defer timer.Stop()
	for failures := 0; ; {
		wait := r.cfg.RefreshInterval*3/4 + rand.N(r.cfg.RefreshInterval/2+1)
		if failures > 0 {
			wait = min(wait, backoff(failures))
		}
		timer.Reset(wait)
		select {
		case <-r.shared.ctx.Done():
			return
		case <-timer.C:
		}
		err := r.refresh(r.shared.ctx, nil)
		switch {
		case r.shared.ctx.Err() != nil:
			return
		case err != nil:
			failures++
			err = fmt.Errorf("token: reading the keyring: %w", err)
			r.shared.err.Store(&err)
			r.cfg.Logger.Warn("token: the key store fails", "error", err, "failures", failures, "signing", r.usable(r.state.Load()) == nil)
		case failures > 0:
			r.cfg.Logger.Info("token: the key store answers again", "failures", failures)
			fallthrough
		default:
			failures = 0
			r.shared.err.Store(nil)
		}
	}
}

// usable reports whether s may still be used: in a shared ring, others may have
// moved on since it was read.
func (r *Keyring) usable(s *ringState) error {
	if r.shared == nil {
		return nil
	}
	if age := r.cfg.clock().Since(s.at); age >= r.cfg.alone() {
		return fmt.Errorf("token: %w: the key store was last read %s ago", ErrKeysUnavailable, age.Round(time.Second))
	}
	return nil
}

// refresh reads the set and takes every step that is due, the one that ask demands
// among them, until the store has them all. It sees each in the store before it
// uses it.
func (r *Keyring) refresh(ctx context.Context, ask func(*ringSet) error) error {
	for try := range maxSteps {
		next, revision, asked, err := r.look(ctx, ask)
		if next == nil || err != nil {
			return err
		}
		err = r.save(ctx, next, revision)
		switch {
		case errors.Is(err, ErrKeyStoreConflict): // another was first: look again, decide again
			if err := pause(ctx, rand.N(time.Duration(try+1)*10*time.Millisecond)); err != nil {
				return err
			}
		case err != nil:
			return err
		case asked:
			ask = nil
		}
	}
	return fmt.Errorf("%w: others keep changing the ring", ErrKeyStoreConflict)
}

// look reads the set, makes it this instance's own, and returns what to replace it
// by, or nil if it is as it should be. asked reports whether ask is in that.
func (r *Keyring) look(ctx context.Context, ask func(*ringSet) error) (next *ringSet, revision string, asked bool, err error) {
	known := r.state.Load()
	before := r.cfg.clock()
	set, revision, err := r.load(ctx)
	switch {
	case err != nil:
		return nil, "", false, err
	case known != nil && (set == nil || set.gen < known.set.gen && r.usable(known) == nil):
		r.cfg.Logger.Error("token: the key store has lost the newest keys: putting them back")
		next = known.set.clone()
		next.gen++
		return next, revision, false, nil
	case set == nil:
		next, err = r.shared.plan.first(r.cfg.FirstKey)
		return next, revision, false, err
	}
	if err := r.adopt(set, before); err != nil {
		return nil, "", false, err
	}
	// After the read: a state counts from a moment at which it surely was in the store.
	now := r.cfg.clock().Wall / int64(time.Millisecond)
	next = set.clone()
	next.gen++
	changed := r.shared.plan.seen(next, now)
	if ask != nil {
		if err := ask(next); err != nil {
			return nil, "", false, err
		}
		changed = true
	}
	due, err := r.shared.plan.advance(next, now)
	if err != nil || !changed && !due {
		return nil, "", false, err
	}
	return next, revision, ask != nil, nil
}

// adopt makes set, which was read after at, the one that this instance uses, unless
// a later one was read meanwhile.
func (r *Keyring) adopt(set *ringSet, at revoke.Instant) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.state.Load()
	if old != nil && old.set.gen > set.gen && r.usable(old) == nil {
		return nil
	}
	var s *ringState
	if old != nil && old.set == set {
		again := *old
		s = &again
		if old.at.Mono > at.Mono {
			at = old.at
		}
	} else {
		var err error
		if s, err = newRingState(set.keys[set.find(KeyActive)].SigningKey, set.statuses()); err != nil {
			return fmt.Errorf("%w: %w", ErrKeyStoreCorrupt, err)
		}
		r.tell(old, set)
	}
	s.set, s.at = set, at
	r.state.Store(s)
	return nil
}

// tell logs the keys whose state is new.
func (r *Keyring) tell(old *ringState, set *ringSet) {
	if old == nil {
		return
	}
	for _, k := range set.keys {
		if i := old.set.named(k.key.id); i < 0 || old.set.keys[i].state != k.state {
			r.cfg.Logger.Info("token: key is "+string(k.state), "key", k.key)
		}
	}
	for _, k := range old.set.keys {
		if set.named(k.key.id) < 0 {
			r.cfg.Logger.Info("token: key is gone", "key", k.key)
		}
	}
}

// load reads the set; nil if the store is empty.
func (r *Keyring) load(ctx context.Context) (*ringSet, string, error) {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	var blob []byte
	var revision string
	err := guarded(func() (err error) {
		blob, revision, err = r.shared.store.Load(ctx)
		return err
	})
	switch {
	case err != nil:
		return nil, "", storeError("reading", err)
	case len(blob) == 0 && revision == "":
		return nil, "", nil
	case revision == "":
		return nil, "", fmt.Errorf("%w: the store returned a ring without a revision", ErrKeyStore)
	}
	digest := sha256.Sum256(blob)
	if last := r.shared.last.Load(); last != nil && last.digest == digest {
		return last.set, revision, nil
	}
	set, sealer, err := decodeRing(blob, r.cfg.SealKeys, r.cfg.InsecureOpenPlain)
	if err != nil {
		return nil, "", err
	}
	r.shared.last.Store(&decodedBlob{digest, set, sealer})
	return set, revision, nil
}

func (r *Keyring) save(ctx context.Context, set *ringSet, revision string) error {
	blob, err := encodeRing(set, r.cfg.SealKeys)
	if err != nil {
		return err
	}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	return storeError("writing", guarded(func() error { return r.shared.store.Save(ctx, blob, revision) }))
}

// guarded turns a panic of a caller's store into an error: follow's goroutine is
// ours, and would end the process.
func guarded(call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the store panicked")
		}
	}()
	return call()
}

// storeError puts what a store returned into our family.
func storeError(doing string, err error) error {
	if err == nil || errors.Is(err, ErrKeyStore) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrKeyStore, doing, err)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (r *Keyring) rotateShared(ctx context.Context) (*Key, error) {
	if r.shared.ctx.Err() != nil {
		return nil, fmt.Errorf("token: rotating keys: %w", errRingClosed)
	}
	var key *Key
	err := r.refresh(ctx, func(set *ringSet) (err error) {
		key, err = r.shared.plan.hasten(set)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("token: rotating keys: %w", err)
	}
	return key, nil
}

func (r *Keyring) removeShared(ctx context.Context, kid string) error {
	if r.shared.ctx.Err() != nil {
		return fmt.Errorf("token: removing a key: %w", errRingClosed)
	}
	err := r.refresh(ctx, func(set *ringSet) error { return r.shared.plan.remove(set, kid) })
	if err != nil {
		return fmt.Errorf("token: removing a key: %w", err)
	}
	return nil
}
