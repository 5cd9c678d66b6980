package embedded_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/internal/snapshots"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// The bucket of snapshots, beside a real server.

const bucketName = "B"

// A store is a server with a bucket.
type store struct {
	t   *testing.T
	url string
	js  jetstream.JetStream // of an administrator
}

func newStore(t *testing.T, maxBytes int64, users ...*server.User) *store {
	t.Helper()
	opts := &server.Options{ServerName: "snapshots", Host: "127.0.0.1", Port: server.RANDOM_PORT, StoreDir: t.TempDir(), JetStream: true, NoSigs: true, NoLog: true, Users: users}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(time.Minute) {
		t.Fatal("server not ready")
	}
	s := &store{t: t, url: srv.ClientURL()}
	nc := s.connect()
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if err := bus.CreateStream(s.within(), nc, bus.StreamConfig{Replicas: 1, MaxBytes: 16 << 20}); err != nil {
		t.Fatal(err)
	}
	if maxBytes > 0 {
		conn, err := transport.Ask(nc)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second finds it
			if err := snapshots.Create(s.within(), snapshots.Settings{Bucket: bucketName, Replicas: 1, MaxBytes: maxBytes}, conn.AskAgain); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func (s *store) within() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *store) connect(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	if opts == nil {
		opts = []nats.Option{nats.UserInfo("admin", "x")}
	}
	nc, err := nats.Connect(s.url, append(opts, nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(), nats.PingInterval(time.Second))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// bucket is one over a connection of its own.
func (s *store) bucket(opts ...nats.Option) (*snapshots.Bucket, *transport.Transport) {
	s.t.Helper()
	tr := transport.New(bus.DefaultStream, transport.Logger(nil))
	var err error
	if tr.Conn, err = transport.Use(s.connect(opts...), false, nil); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { tr.Close(); _ = tr.Conn.Close() })
	return snapshots.NewBucket(tr, bucketName), tr
}

// held counts what the object store holds, by the last token but one of the subject: C for
// chunks, M for what says what they are.
func (s *store) held() map[string]uint64 {
	s.t.Helper()
	stream, err := s.js.Stream(s.within(), "OBJ_"+bucketName)
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := stream.Info(s.within(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		s.t.Fatal(err)
	}
	held := map[string]uint64{}
	for subject, n := range info.State.Subjects {
		held[strings.Split(subject, ".")[2]] += n
	}
	return held
}

func someBytes(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func always() error { return nil }

func put(t *testing.T, s *store, b *snapshots.Bucket, data []byte) snapshots.Pointer {
	t.Helper()
	digest, err := b.Put(s.within(), data, always)
	if err != nil || digest != sha256.Sum256(data) {
		t.Fatal(err)
	}
	return snapshots.Pointer{Digest: digest, Size: int64(len(data)), Sequence: 7, Created: time.Unix(1, 5).UTC(), Written: time.UnixMilli(1767225600000).UTC()}
}

// What was put is read as it was, also by the client library, whatever its size; to put it
// again stores nothing.
func TestSnapshotObjects(t *testing.T) {
	s := newStore(t, 64<<20)
	b, _ := s.bucket()
	for _, n := range []int{1, 128 << 10, 128<<10 + 1, 9<<20 + 17} {
		data := someBytes(n)
		p := put(t, s, b, data)
		got, err := b.Get(s.within(), p, int64(n))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes: %d, %v", n, len(got), err)
		}
		before := s.held()
		if before["C"] == 0 || before["M"] == 0 {
			t.Fatalf("held: %v", before)
		}
		put(t, s, b, data)
		if after := s.held(); after["C"] != before["C"] || after["M"] != before["M"] {
			t.Errorf("put twice: %v, then %v", before, after)
		}
		objects, err := s.js.ObjectStore(s.within(), bucketName)
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := objects.GetBytes(s.within(), p.Name()); err != nil || !bytes.Equal(theirs, data) {
			t.Errorf("%d bytes, by the client library: %d, %v", n, len(theirs), err)
		}
	}
}

// A pointer that lies costs nothing but time: nothing is taken that is larger than may be, of
// another size than the bucket says, or of other content than its name.
func TestSnapshotPointersThatLie(t *testing.T) {
	s := newStore(t, 64<<20)
	b, _ := s.bucket()
	data := someBytes(300_000)
	p := put(t, s, b, data)
	large, small, missing := p, p, p
	large.Size = 1 << 40
	small.Size--
	missing.Digest[0]++
	objects, err := s.js.ObjectStore(s.within(), bucketName)
	if err != nil {
		t.Fatal(err)
	}
	wrong := p
	wrong.Digest[1]++
	if _, err := objects.PutBytes(s.within(), wrong.Name(), data); err != nil {
		t.Fatal(err)
	}
	link := p
	link.Digest[2]++
	o, err := objects.GetInfo(s.within(), p.Name())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objects.AddLink(s.within(), link.Name(), o); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		p    snapshots.Pointer
		want error
	}{
		"too large": {large, snapshots.ErrSize}, "another size": {small, snapshots.ErrSize}, "zero": {snapshots.Pointer{}, snapshots.ErrSize},
		"missing": {missing, snapshots.ErrNoObject}, "a link": {link, snapshots.ErrNoObject}, "other content": {wrong, snapshots.ErrContent},
	} {
		if got, err := b.Get(s.within(), c.p, 1<<20); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	if err := objects.Delete(s.within(), p.Name()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(s.within(), p, 1<<20); !errors.Is(err, snapshots.ErrNoObject) {
		t.Errorf("deleted: %v", err)
	}
}

// A reader whose object is removed under it ends with an error, in time, or has it whole.
func TestSnapshotRemovedWhileRead(t *testing.T) {
	s := newStore(t, 64<<20)
	b, _ := s.bucket()
	data := someBytes(8 << 20)
	whole := 0
	for i := range 12 {
		data[0] = byte(i)
		p := put(t, s, b, data)
		var wg sync.WaitGroup
		began := time.Now()
		var got []byte
		var err error
		wg.Go(func() { got, err = b.Get(s.within(), p, 1<<30) })
		for end := began.Add(time.Duration(i) * time.Millisecond); time.Now().Before(end); {
		}
		if _, err := b.Sweep(s.within(), "", -time.Hour); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		switch {
		case err == nil && bytes.Equal(got, data):
			whole++
		case err == nil:
			t.Fatal("half an object was taken for a whole one")
		case !errors.Is(err, snapshots.ErrContent) && !errors.Is(err, snapshots.ErrNoObject):
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	}
	t.Logf("%d of 12 were read whole", whole)
	// Its chunks gone and what says what they are still there, as a power cut leaves it.
	p := put(t, s, b, data)
	stream, err := s.js.Stream(s.within(), "OBJ_"+bucketName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(s.within(), jetstream.WithPurgeSubject("$O."+bucketName+".C.>"), jetstream.WithPurgeKeep(3)); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get(s.within(), p, 1<<30); !errors.Is(err, snapshots.ErrContent) || got != nil {
		t.Errorf("chunks missing: %v", err)
	}
}

// An object that nobody points to is swept after its time, with its chunks and whatever chunks
// belong to nobody; the newest and those that are new stay.
func TestSnapshotSweep(t *testing.T) {
	s := newStore(t, 64<<20)
	b, _ := s.bucket()
	newest, old := put(t, s, b, someBytes(300_000)), put(t, s, b, someBytes(200_000))
	if _, err := s.js.Publish(s.within(), "$O."+bucketName+".C.ORPHAN", someBytes(100)); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Sweep(s.within(), newest.Name(), snapshots.Grace); n != 0 || err != nil || s.held()["C"] != 6 {
		t.Errorf("%d removed within their time, %v; held %v", n, err, s.held())
	}
	if n, err := b.Sweep(s.within(), newest.Name(), -time.Hour); n != 1 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	if held := s.held(); held["C"] != 3 || held["M"] != 1 {
		t.Errorf("held: %v", held)
	}
	if _, err := b.Get(s.within(), newest, 1<<30); err != nil {
		t.Error(err)
	}
	if _, err := b.Get(s.within(), old, 1<<30); !errors.Is(err, snapshots.ErrNoObject) {
		t.Error(err)
	}
}

// A bucket that is full, not there or not permitted is an error that says so, soon, and
// leaves no chunk behind.
func TestSnapshotBucketTroubles(t *testing.T) {
	s := newStore(t, snapshots.MinBytes)
	b, _ := s.bucket()
	if _, err := b.Put(s.within(), someBytes(snapshots.MinBytes), always); !jsadmin.IsFull(err) {
		t.Errorf("full: %v", err)
	}
	if held := s.held(); held["C"] != 0 {
		t.Errorf("held: %v", held)
	}
	stop := errors.New("stop")
	if _, err := b.Put(s.within(), someBytes(1<<20), func() error { return stop }); err != stop {
		t.Error(err)
	}
	if held := s.held(); held["C"] != 0 {
		t.Errorf("held: %v", held)
	}

	none := newStore(t, 0)
	b, _ = none.bucket()
	_, _, err := b.Record(none.within())
	_, errMove := b.Move(none.within(), snapshots.Record{}, 0)
	_, errPut := b.Put(none.within(), someBytes(10), always)
	_, errGet := b.Get(none.within(), snapshots.Pointer{Size: 1}, 1)
	_, errSweep := b.Sweep(none.within(), "", 0)
	for what, err := range map[string]error{"record": err, "move": errMove, "put": errPut, "get": errGet, "sweep": errSweep} {
		if !errors.Is(err, snapshots.ErrNoBucket) {
			t.Errorf("no bucket: %s: %v", what, err)
		}
	}

	inbox := &server.SubjectPermission{Allow: []string{"_INBOX.>"}}
	s = newStore(t, snapshots.MinBytes, &server.User{Username: "admin", Password: "x"},
		&server.User{Username: "reader", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"$JS.API.DIRECT.GET.KV_B.$KV.B.newest", "$JS.API.DIRECT.GET.OBJ_B.$O.B.M.*", "$JS.API.CONSUMER.CREATE.OBJ_B.*.$O.B.C.*", "$JS.API.CONSUMER.MSG.NEXT.OBJ_B.*", "$JS.API.CONSUMER.DELETE.OBJ_B.*"}}, Subscribe: inbox}},
		&server.User{Username: "stranger", Password: "x", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"nothing"}}, Subscribe: inbox}})
	admin, _ := s.bucket()
	data := someBytes(200_000)
	p := put(t, s, admin, data)
	if _, err := admin.Move(s.within(), snapshots.Record{Newest: p}, 0); err != nil {
		t.Fatal(err)
	}
	reader, _ := s.bucket(nats.UserInfo("reader", "x"))
	r, revision, err := reader.Record(s.within())
	if err != nil || revision == 0 || r.Newest != p {
		t.Fatalf("%+v, %d, %v", r, revision, err)
	}
	if got, err := reader.Get(s.within(), r.Newest, 1<<20); err != nil || !bytes.Equal(got, data) {
		t.Errorf("a reader's rights: %v", err)
	}
	if _, err := reader.Move(s.within(), snapshots.Record{}, revision); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a reader has moved the pointer: %v", err)
	}
	if _, err := reader.Put(s.within(), []byte("x"), always); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a reader has stored an object: %v", err)
	}
	stranger, _ := s.bucket(nats.UserInfo("stranger", "x"))
	if _, _, err := stranger.Record(s.within()); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a stranger: %v", err)
	}
}

// A replica that snapshots are made of, without a replica.
type source struct {
	sequence atomic.Uint64
	stale    atomic.Bool
	block    chan struct{} // nil: it makes one at once
	entered  chan struct{}
}

func (s *source) Sequence() uint64 { return s.sequence.Load() }
func (s *source) Entries() int     { return 0 }
func (s *source) Fresh() bool      { return !s.stale.Load() }
func (s *source) Signer() string   { return "ab" }
func (s *source) Snapshot(ctx context.Context) ([]byte, uint64, error) {
	n := s.sequence.Load()
	if s.block != nil {
		s.entered <- struct{}{}
		select {
		case <-s.block:
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
	return fmt.Appendf(nil, "a snapshot at %d", n), n, nil
}

func newest(t *testing.T, s *store, b *snapshots.Bucket) (snapshots.Record, uint64) {
	t.Helper()
	r, revision, err := b.Record(s.within())
	if err != nil {
		t.Fatal(err)
	}
	return r, revision
}

// Of many writers at once one writes at a time; the pointer goes only forward, names an object
// that is there, and nothing else is left when they have done.
func TestSnapshotWritersAtOnce(t *testing.T) {
	s := newStore(t, 64<<20)
	b, _ := s.bucket()
	var sequence atomic.Uint64
	var wg sync.WaitGroup
	const writers, rounds = 4, 5
	for i := range writers {
		mine, tr := s.bucket()
		src := &source{}
		w := snapshots.NewWriter(tr, mine, src, fmt.Sprint("writer", i))
		wg.Go(func() {
			for range rounds {
				src.sequence.Store(sequence.Add(1))
				// One that others have overtaken is refused, and has not moved the pointer.
				if err := w.Write(s.within()); err != nil && !strings.Contains(err.Error(), "rolled back") {
					t.Error(err)
				}
			}
			if st := w.Status(); st.Written+st.Failures != rounds {
				t.Errorf("%+v", st)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	last, looks := uint64(0), 0
	for over := false; !over; looks++ {
		select {
		case <-done:
			over = true
		default:
		}
		r, _ := newest(t, s, b)
		if r.Newest.Sequence < last {
			t.Fatalf("the pointer went from %d to %d", last, r.Newest.Sequence)
		}
		if last = r.Newest.Sequence; last == 0 {
			continue
		}
		if got, err := b.Get(s.within(), r.Newest, 1<<20); err != nil || string(got) != fmt.Sprint("a snapshot at ", last) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	r, _ := newest(t, s, b)
	if r.Holder != "" || last != writers*rounds || looks < 10 {
		t.Errorf("%+v after %d looks", r, looks)
	}
	if _, err := b.Sweep(s.within(), r.Newest.Name(), -time.Hour); err != nil {
		t.Fatal(err)
	}
	if held := s.held(); held["M"] != 1 || held["C"] != 1 {
		t.Errorf("held: %v", held)
	}
}

// Who was deposed while it made a snapshot moves nothing, and renews nothing: the pointer is
// that of who took over, whatever either says its sequence is.
func TestSnapshotDeposedWriter(t *testing.T) {
	s := newStore(t, 64<<20)
	b, tr := s.bucket()
	slow := &source{block: make(chan struct{}), entered: make(chan struct{}, 9)}
	slow.sequence.Store(1000) // it would be the newest
	deposed := snapshots.NewWriter(tr, b, slow, "slow")
	deposed.Lease = time.Hour // it does not renew: its process stands still
	failed := make(chan error, 1)
	go func() { failed <- deposed.Write(s.within()) }()
	<-slow.entered
	r, _ := newest(t, s, b)
	if r.Name != "slow" || r.Holder == "" {
		t.Fatalf("%+v", r)
	}

	mine, tr2 := s.bucket()
	src := &source{}
	src.sequence.Store(500)
	w := snapshots.NewWriter(tr2, mine, src, "next")
	w.Lease = 300 * time.Millisecond
	began := time.Now()
	if err := w.Write(s.within()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < w.Lease {
		t.Errorf("it took the writing over after %s", d)
	}
	// It finds that out, and begins again, as who writes by hand does; its next one counts.
	slow.sequence.Store(1001)
	close(slow.block)
	seen := map[uint64]bool{}
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-failed:
			waiting = false
		default:
			r, _ := newest(t, s, b)
			seen[r.Newest.Sequence] = true
		}
	}
	if err != nil || seen[1000] {
		t.Errorf("%v; the pointer was at %v", err, seen)
	}
	if r, _ := newest(t, s, b); r.Newest.Sequence != 1001 || r.Holder != "" {
		t.Errorf("%+v", r)
	}
}

// A writer that was killed leaves the lease, and perhaps an object without a pointer. The next
// one takes over when the record has stood still for long enough, and replaces a pointer
// whose object is gone.
func TestSnapshotKilledWriter(t *testing.T) {
	s := newStore(t, 64<<20)
	b, tr := s.bucket()
	put(t, s, b, []byte("without a pointer"))
	lost := snapshots.Pointer{Digest: [32]byte{1}, Size: 5, Sequence: 90, Created: time.Unix(1, 0).UTC(), Written: time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)}
	if _, err := b.Move(s.within(), snapshots.Record{Newest: lost, Holder: "KILLED", Name: "killed"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(s.within(), lost, 10); !errors.Is(err, snapshots.ErrNoObject) {
		t.Fatal(err)
	}
	src := &source{}
	src.sequence.Store(100)
	w := snapshots.NewWriter(tr, b, src, "next")
	w.Lease = 200 * time.Millisecond
	ctx, cancel := context.WithTimeout(s.within(), w.Lease/2)
	defer cancel()
	if err := w.Write(ctx); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("before its lease was over: %v", err)
	}
	if err := w.Write(s.within()); err != nil {
		t.Fatal(err)
	}
	r, _ := newest(t, s, b)
	if got, err := b.Get(s.within(), r.Newest, 100); err != nil || string(got) != "a snapshot at 100" {
		t.Errorf("%q, %v", got, err)
	}
	if st := w.Status(); st.Written != 1 || st.Sequence != 100 || st.Err != nil || st.Failures != 0 {
		t.Errorf("%+v", st)
	}
}

// A holder that is slow and alive keeps the lease, however long it takes.
func TestSnapshotSlowWriterKeepsTheLease(t *testing.T) {
	s := newStore(t, 64<<20)
	b, tr := s.bucket()
	slow := &source{block: make(chan struct{}), entered: make(chan struct{}, 9)}
	slow.sequence.Store(10)
	holder := snapshots.NewWriter(tr, b, slow, "slow")
	holder.Lease = 600 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- holder.Write(s.within()) }()
	<-slow.entered
	mine, tr2 := s.bucket()
	src := &source{}
	src.sequence.Store(5)
	w := snapshots.NewWriter(tr2, mine, src, "eager")
	w.Lease = 10 * time.Second // a busy machine may stop the holder for a while
	ctx, cancel := context.WithTimeout(s.within(), 2*time.Second)
	defer cancel()
	if err := w.Write(ctx); err == nil || !strings.Contains(err.Error(), "slow") {
		t.Errorf("another has taken over: %v", err)
	}
	close(slow.block)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if r, revision := newest(t, s, b); r.Newest.Sequence != 10 || revision < 4 {
		t.Errorf("%+v at revision %d", r, revision)
	}
	// Of the same stream the pointer never goes back.
	if err := w.Write(s.within()); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("a lower sequence: %v", err)
	}
	if r, _ := newest(t, s, b); r.Newest.Sequence != 10 || r.Holder != "" {
		t.Errorf("%+v", r)
	}
}

// What a bucket says of an object's size is no reason to take as much memory: who may write to
// the bucket, and cannot sign, would end each replica that starts, by two small messages.
func TestSnapshotSizeIsBelievedAsItComes(t *testing.T) {
	s := newStore(t, 64<<20)
	b, _ := s.bucket()
	p := put(t, s, b, someBytes(1))
	p.Digest[0]++
	p.Size = 1 << 30
	subject := "$O." + bucketName + ".M." + base64.URLEncoding.EncodeToString([]byte(p.Name()))
	if _, err := s.js.Publish(s.within(), subject, []byte(`{"nuid":"lie","size":1073741824,"chunks":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.Publish(s.within(), "$O."+bucketName+".C.lie", []byte("x")); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := b.Get(s.within(), p, p.Size)
	runtime.ReadMemStats(&after)
	if !errors.Is(err, snapshots.ErrContent) || got != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d bytes allocated for one that came", n)
	}
}
