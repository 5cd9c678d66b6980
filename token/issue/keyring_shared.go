package issue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/pause"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// maxSteps bounds the reads of the store in one go: three make a change and see it
// in the store, the rest is for conflicts.
const maxSteps = 20

var errRingClosed = errors.New("keyring closed")

// A sharedRing is what a ring with a store has beside the others.
type sharedRing struct {
	store  Store
	codec  ringCodec
	plan   plan
	ctx    context.Context // ends at Close
	cancel context.CancelFunc
	done   sync.WaitGroup
	kick   chan struct{}         // has the store read now
	err    atomic.Pointer[error] // of the last refresh
	last   atomic.Pointer[decodedBlob]
}

// A decodedBlob remembers what a blob holds: most reads find it unchanged.
type decodedBlob struct {
	digest [sha256.Size]byte
	decodedRing
}

// resealEvery is how often an instance seals the ring anew, in refreshes, when it finds it
// sealed by another key than its own first one: while instances disagree about which comes
// first, neither is to write all the time.
const resealEvery = 20

// OpenKeyring returns the ring of [KeyringConfig].Issuer in store, which all instances of a
// service share, on one machine or on many: they sign with one key and serve one set. If
// there is none it begins with a new key, or [KeyringConfig].FirstKey, which signs at once.
// Close it at the end.
//
// A key is announced, then active, then retired, then gone, by schedule and by
// [Keyring.Rotate]. Any instance takes the step that is due; the store's
// compare-and-set decides whose counts, and times run from when a state was seen in
// the store. So there is no gap, while clocks and configurations agree as
// [KeyringConfig] says and the store forgets nothing: no token is signed with a key
// that a verifier which follows MaxAge could not know by then, and no key is gone
// while one of its tokens may be unexpired. One key is always announced, for
// emergencies: see [Keyring.Remove], and [KeyringConfig].Revocations for a key that is
// removed by itself when its revocation is published.
//
// The error matches [ErrStore] if the store cannot be read or written, and
// [ErrStoreCorrupt] if it holds what is no ring or cannot be opened. Later
// failures are logged, shown by [Keyring.Status] and retried; the instance goes on
// with what it knows for as long as that is safe, see [KeyringConfig].AnnounceFor,
// and then fails with [token.ErrKeysUnavailable]. A store that lost the newest ring is given
// it back by an instance that runs; to begin anew, stop all of them first.
func OpenKeyring(ctx context.Context, store Store, cfg KeyringConfig) (*Keyring, error) {
	if store == nil {
		return nil, errors.New("issue: OpenKeyring: the store is nil")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("issue: opening the keyring: %w", err)
	}
	cfg, err := cfg.withDefaults()
	if err == nil {
		err = cfg.checkStore(store)
	}
	if err != nil {
		return nil, err
	}
	shared := &sharedRing{store: store, codec: cfg.codec(store), plan: cfg.plan(), kick: make(chan struct{}, 1)}
	shared.ctx, shared.cancel = context.WithCancel(context.Background())
	r := &Keyring{cfg: cfg, shared: shared}
	err = r.refresh(ctx, nil)
	if err == nil && shared.last.Load().stale {
		err = r.refresh(ctx, reseal)
	}
	if err != nil {
		shared.cancel()
		return nil, fmt.Errorf("issue: opening the keyring: %w", err)
	}
	if len(cfg.SealKeys) == 0 {
		cfg.Logger.Warn("issue: the keyring is stored without a seal: anyone who reads the store can issue tokens; set SealKeys")
	}
	shared.done.Go(r.follow)
	return r, nil
}

// codec returns what writes and reads the ring in store.
func (c *KeyringConfig) codec(store Store) ringCodec {
	codec := ringCodec{issuer: c.Issuer, record: ringKey(c.Issuer), seals: c.SealKeys, openPlain: c.InsecureOpenPlain, firstKey: c.FirstKey}
	if _, codec.private = store.(*FileStore); codec.private {
		codec.record = ringKey("") // also if an issuer is configured later
	}
	return codec
}

// reseal asks for no change but that the ring is written anew.
func reseal(*ringSet) error { return nil }

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
	resealIn := resealEvery
	for failures := 0; ; {
		wait := pause.Between(r.cfg.RefreshInterval*3/4, r.cfg.RefreshInterval*5/4)
		if failures > 0 { // for so long at the most
			d := pause.Growing(time.Second, 32*time.Second, failures-1)
			wait = min(wait, pause.Between(d-d/4, d))
		}
		timer.Reset(wait)
		select {
		case <-r.shared.ctx.Done():
			return
		case <-timer.C:
		case <-r.shared.kick:
		}
		err := r.refresh(r.shared.ctx, nil)
		if resealIn--; err == nil && r.shared.last.Load().stale && resealIn <= 0 {
			resealIn = resealEvery
			err = r.refresh(r.shared.ctx, reseal)
		}
		switch {
		case r.shared.ctx.Err() != nil:
			return
		case err != nil:
			failures++
			err = fmt.Errorf("issue: reading the keyring: %w", err)
			r.shared.err.Store(&err)
			r.cfg.Logger.Warn("issue: the key store fails", "error", err, "failures", failures, "signing", r.signable(r.state.Load()) == nil)
		case failures > 0:
			r.cfg.Logger.Info("issue: the key store answers again", "failures", failures)
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
		return fmt.Errorf("issue: %w: the key store was last read %s ago", token.ErrKeysUnavailable, age.Round(time.Second))
	}
	return nil
}

// refresh does what ask demands, if anything, and takes every step that is due. What was
// asked for is in use when it returns nil.
func (r *Keyring) refresh(ctx context.Context, ask func(*ringSet) error) error {
	if ask == nil {
		return r.steps(ctx, nil)
	}
	err := r.steps(ctx, ask)
	if err == nil {
		r.steps(ctx, nil) // an error has nothing to do with ask; the next refresh meets it, too
	}
	return err
}

// steps reads the set and takes the steps that are due until the store has them all or, if
// something is asked for, until it has that. It uses a set that the store has shown or
// whose Save has succeeded: a leader that was deposed goes on showing the one before.
func (r *Keyring) steps(ctx context.Context, ask func(*ringSet) error) error {
	for try := range maxSteps {
		step, err := r.look(ctx, ask)
		if step.next == nil || err != nil {
			return err
		}
		before := r.cfg.clock()
		err = r.save(ctx, step.next, step.revision)
		if errors.Is(err, recordstore.ErrConflict) { // another was first: look again, decide again
			if pause.Wait(ctx, pause.Between(0, time.Duration(try+1)*10*time.Millisecond)) != nil {
				return ctx.Err()
			}
			continue
		}
		if err == nil {
			err = r.adopt(step.next, before)
		}
		if step.lost && err == nil { // it was: what a deposed leader shows is replaced by nobody
			r.cfg.Logger.Error("issue: the key store had lost the newest keys: they have been put back")
		}
		if step.asked || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: others keep changing the ring: %w", ErrStore, recordstore.ErrConflict)
}

// A step is what an instance wants the store to hold next.
type step struct {
	next     *ringSet // nil: what it holds
	revision uint64   // that it replaces
	asked    bool     // what was asked for is in it
	lost     bool     // what the store shows is older than what this instance knows
}

// look reads the set, makes it this instance's own, and returns what to replace it
// by.
func (r *Keyring) look(ctx context.Context, ask func(*ringSet) error) (step, error) {
	known := r.state.Load()
	before := r.cfg.clock()
	set, revision, err := r.load(ctx)
	switch {
	case err != nil:
		return step{}, err
	case known != nil && (set == nil || set.gen < known.set.gen && r.usable(known) == nil):
		next := known.set.clone()
		next.gen++
		return step{next: next, revision: revision, lost: true}, nil
	case set == nil:
		next, err := r.first(ctx)
		return step{next: next, revision: revision}, err
	}
	if err := r.adopt(set, before); err != nil {
		return step{}, err
	}
	// After the read: a state counts from a moment at which it surely was in the store.
	now := r.cfg.clock().Wall / int64(time.Millisecond)
	next := set.clone()
	next.gen++
	changed, err := r.shared.plan.dropRevoked(next, r.revoked)
	if err != nil {
		return step{}, err
	}
	if r.shared.plan.seen(next, now) {
		changed = true
	}
	if ask != nil {
		if err := ask(next); err != nil {
			return step{}, err
		}
		changed = true
	}
	due, err := r.shared.plan.advance(next, now)
	if err != nil || !changed && !due {
		return step{}, err
	}
	return step{next: next, revision: revision, asked: ask != nil}, nil
}

// adopt makes set, which was read after at, the one that this instance uses, unless
// a later one was read meanwhile.
func (r *Keyring) adopt(set *ringSet, at revoke.Instant) error {
	old, s, err := r.replace(set, at)
	if err == nil && s != nil {
		r.tell(old, s)
	}
	return err
}

// replace returns what was used and what takes its place; nil if nothing does.
func (r *Keyring) replace(set *ringSet, at revoke.Instant) (old, s *ringState, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old = r.state.Load()
	if old != nil && old.set.gen > set.gen && r.usable(old) == nil {
		return nil, nil, nil
	}
	if old != nil && old.set == set && !r.anyRevoked(old) {
		again := *old
		s = &again
		if old.at.Mono > at.Mono {
			at = old.at
		}
	} else if s, err = r.stateOf(set); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrStoreCorrupt, err)
	}
	s.at = at
	r.state.Store(s)
	return old, s, nil
}

// tell logs the keys whose state is new.
func (r *Keyring) tell(old, s *ringState) {
	if old == nil {
		return
	}
	before := map[string]string{}
	for _, k := range old.statuses {
		before[k.Key.ID()] = k.State
	}
	for _, k := range s.statuses {
		if before[k.Key.ID()] != k.State {
			r.cfg.Logger.Info("issue: key is "+string(k.State), "key", k.Key)
		}
		delete(before, k.Key.ID())
	}
	for _, k := range old.statuses {
		if _, gone := before[k.Key.ID()]; !gone {
			continue
		}
		if r.revoked(k.Key) {
			r.cfg.Logger.Warn("issue: key is revoked: it signs no more and is removed", "key", k.Key)
			continue
		}
		r.cfg.Logger.Info("issue: key is gone", "key", k.Key)
	}
	if s.dead && !old.dead {
		r.cfg.Logger.Error("issue: every key that could sign is revoked: nothing is issued until another is in the store")
	}
}

// first returns what an empty store is to hold.
func (r *Keyring) first(ctx context.Context) (*ringSet, error) {
	if r.cfg.CopyFrom == nil {
		return r.shared.plan.first(r.cfg.FirstKey)
	}
	codec := r.cfg.codec(r.cfg.CopyFrom)
	record, err := loadRecord(ctx, r.cfg.CopyFrom, codec.record)
	if errors.Is(err, recordstore.ErrNotFound) {
		return r.shared.plan.first(r.cfg.FirstKey)
	}
	if err != nil {
		return nil, fmt.Errorf("CopyFrom: %w", err)
	}
	ring, err := codec.decode(record.Value)
	if err != nil {
		return nil, fmt.Errorf("CopyFrom: %w", err)
	}
	r.cfg.Logger.Info("issue: the keyring begins with that of CopyFrom", "keys", len(ring.set.keys))
	return ring.set, nil
}

// loadRecord returns the record of a ring. The error matches [recordstore.ErrNotFound] if
// there is none.
func loadRecord(ctx context.Context, store Store, key string) (record recordstore.Record, err error) {
	ctx, cancel := storeContext(ctx)
	defer cancel()
	err = guarded(func() (err error) {
		record, err = store.Load(ctx, key)
		return err
	})
	if err == nil && record.Revision == 0 {
		err = errors.New("the store returned a ring without a revision")
	}
	return record, storeError("reading", err)
}

// load reads the set; nil if the store is empty.
func (r *Keyring) load(ctx context.Context) (*ringSet, uint64, error) {
	record, err := loadRecord(ctx, r.shared.store, r.shared.codec.record)
	if errors.Is(err, recordstore.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	digest := sha256.Sum256(record.Value)
	if last := r.shared.last.Load(); last != nil && last.digest == digest {
		return last.set, record.Revision, nil
	}
	ring, err := r.shared.codec.decode(record.Value)
	if err != nil {
		return nil, 0, err
	}
	r.shared.last.Store(&decodedBlob{digest, ring})
	return ring.set, record.Revision, nil
}

func (r *Keyring) save(ctx context.Context, set *ringSet, revision uint64) error {
	blob, err := r.shared.codec.encode(set)
	if err != nil {
		return err
	}
	ctx, cancel := storeContext(ctx)
	defer cancel()
	return storeError("writing", guarded(func() error {
		_, err := r.shared.store.Save(ctx, r.shared.codec.record, blob, revision, recordstore.Never)
		return err
	}))
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
	if err == nil || errors.Is(err, ErrStore) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrStore, doing, err)
}

func (r *Keyring) rotateShared(ctx context.Context) (*token.Key, error) {
	if r.shared.ctx.Err() != nil {
		return nil, fmt.Errorf("issue: rotating keys: %w", errRingClosed)
	}
	var key *token.Key
	err := r.refresh(ctx, func(set *ringSet) (err error) {
		key, err = r.shared.plan.hasten(set)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("issue: rotating keys: %w", err)
	}
	return key, nil
}

func (r *Keyring) removeShared(ctx context.Context, kid string) error {
	if r.shared.ctx.Err() != nil {
		return fmt.Errorf("issue: removing a key: %w", errRingClosed)
	}
	err := r.refresh(ctx, func(set *ringSet) error { return r.shared.plan.remove(set, kid) })
	if err != nil {
		return fmt.Errorf("issue: removing a key: %w", err)
	}
	return nil
}
