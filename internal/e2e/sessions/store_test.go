package sessions_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/natskv"
	"github.com/hybridtoken/hybridtoken/refresh/storetest"
)

// says reports whether err tells of what its package exports no error for.
func says(err error, what string) bool { return err != nil && strings.Contains(err.Error(), what) }

// The conformance suite on a real server, to which three instances have connections
// that are cut, lose answers and hang (invariant 8).
func TestStoreConforms(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{MaxBytes: 8 << 20})
	var proxies []*rig.Proxy
	access := func(t *testing.T) refresh.Store {
		p := rig.NewProxy(t, br.URL())
		proxies = append(proxies, p)
		return rig.OpenStore(t, rig.StoreConnection(t, p.URL()))
	}
	storetest.Run(t, func(t *testing.T) refresh.Store {
		proxies = nil
		return access(t)
	}, storetest.Config{
		Another: func(t *testing.T, _ refresh.Store) refresh.Store { return access(t) },
		Bounded: true,
		Faults:  12,
		Fault: func(t *testing.T, n int) {
			p := proxies[n%len(proxies)]
			lost := 0
			switch n % 4 {
			case 0:
				p.Cut()
			case 1: // answers are lost, and then the connection
				answered := make(chan struct{})
				p.Lose(func(subject string) bool {
					if lost++; lost == 3 {
						close(answered)
					}
					return true
				})
				select {
				case <-answered:
				case <-time.After(rig.Deadline):
					t.Error("nobody asked anything")
				}
				p.Cut()
				p.Lose(nil)
			case 2: // some are lost, and the connection stays
				p.Lose(func(string) bool { lost++; return lost <= 3 })
			case 3: // the server dies and comes back
				br.Stop()
				br.Start()
			}
		},
	})
}

// The same on three servers, of which the bucket's leader is crashed, stopped in good
// order and cut off from its peers while a client stays with it.
func TestStoreConformsOnCluster(t *testing.T) {
	t.Parallel()
	c := rig.NewCluster(t, 3, nil)
	rig.CreateBucketOn(t, c)
	node := 0
	access := func(t *testing.T) refresh.Store {
		// The first address is preferred, so that somebody is connected to each server.
		urls := strings.Split(c.URLs(), ",")
		urls = append(urls[node%3:], urls[:node%3]...)
		node++
		return rig.OpenStore(t, rig.StoreConnection(t, strings.Join(urls, ","), nats.DontRandomize(), nats.PingInterval(time.Second)))
	}
	storetest.Run(t, access, storetest.Config{
		Another:    func(t *testing.T, _ refresh.Store) refresh.Store { return access(t) },
		Faults:     6,
		StaleReads: true,
		Fault: func(t *testing.T, n int) {
			leader := c.Leader(rig.SessionsStream)
			switch n % 3 {
			case 0:
				c.Crash(leader)
				c.Leader(rig.SessionsStream, leader)
				c.Start(leader)
			case 1:
				c.Isolate(leader)
				c.Leader(rig.SessionsStream, leader)
				c.Heal(leader)
			case 2:
				c.Stop(leader)
				c.Start(leader)
			}
			c.Settled(rig.SessionsStream)
		},
	})
}

func later() time.Time { return time.Now().Add(time.Hour) }

func mustSave(t *testing.T, s refresh.Store, key, value string, revision uint64) uint64 {
	t.Helper()
	n, err := s.Save(rig.Within(t), key, []byte(value), revision, later())
	if err != nil {
		t.Fatalf("Save(%s, %q, %d): %v", key, value, revision, err)
	}
	return n
}

func mustLoad(t *testing.T, s refresh.Store, key, value string, revision uint64) {
	t.Helper()
	r, err := s.Load(rig.Within(t), key)
	if err != nil || string(r.Value) != value || r.Revision != revision {
		t.Fatalf("Load(%s) = %q, %d, %v; want %q, %d", key, r.Value, r.Revision, err, value, revision)
	}
}

// What others do to a bucket, with the tools that there are for buckets.
func TestStoreAmongOthers(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	s := rig.OpenStore(t, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(rig.Within(t), "sessions")
	if err != nil {
		t.Fatal("it is no bucket to others:", err)
	}

	one := mustSave(t, s, "a", "one", 0)
	if e, err := kv.Get(rig.Within(t), "a"); err != nil || string(e.Value()) != "one" || e.Revision() != one {
		t.Errorf("others see %+v, %v", e, err)
	}
	// Deleted records are not found, their revision conflicts, and they can be made anew.
	if err := kv.Delete(rig.Within(t), "a"); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Load(rig.Within(t), "a"); !errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("Load = %+v, %v", r, err)
	}
	if _, err := s.Save(rig.Within(t), "a", nil, one, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save over a deleted record: %v", err)
	}
	two := mustSave(t, s, "a", "two", 0)
	mustLoad(t, s, "a", "two", two)
	if _, err := s.Save(rig.Within(t), "a", nil, 0, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save of a record that exists: %v", err)
	}
	// So does a marker of the server's.
	if _, err := js.PublishMsg(rig.Within(t), &nats.Msg{
		Subject: "$KV.sessions.b", Header: nats.Header{jetstream.MarkerReasonHeader: {"MaxAge"}},
	}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Load(rig.Within(t), "b"); !errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("Load = %+v, %v", r, err)
	}
	mustSave(t, s, "b", "made anew", 0)
	// What another program writes is a record like others.
	three, err := kv.Put(rig.Within(t), "a", []byte("three"))
	if err != nil {
		t.Fatal(err)
	}
	mustLoad(t, s, "a", "three", three)
	if _, err := s.Save(rig.Within(t), "a", nil, two, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save over another program's: %v", err)
	}
	mustSave(t, s, "a", "four", three)
	// Nobody purges or deletes what the bucket holds.
	if err := kv.Purge(rig.Within(t), "a"); err == nil {
		t.Error("a record was purged")
	}
	st := rig.StreamNamed(t, js, rig.SessionsStream)
	if err := st.Purge(rig.Within(t)); err == nil {
		t.Error("the bucket was purged")
	}
	if err := st.DeleteMsg(rig.Within(t), three+1); err == nil {
		t.Error("a message was deleted")
	}
}

// Records that have expired leave nothing behind, in memory or on disk.
func TestStoreGivesBack(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false }) // not about its disk
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	s := rig.OpenStore(t, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	messages := func() uint64 {
		st := rig.StreamNamed(t, js, rig.SessionsStream)
		return st.CachedInfo().State.Msgs
	}
	before := messages()
	const records = 50
	for round, life := range []time.Duration{time.Hour, time.Hour, time.Second} {
		for i := range records {
			key := fmt.Sprint("k", i)
			var n uint64
			if round > 0 {
				r, err := s.Load(rig.Within(t), key)
				if err != nil {
					t.Fatal(err)
				}
				n = r.Revision
			}
			if _, err := s.Save(rig.Within(t), key, []byte("value"), n, time.Now().Add(life)); err != nil {
				t.Fatal(err)
			}
		}
		if n := messages(); life == time.Hour && n != before+records {
			t.Errorf("%d messages for %d records, written %d times", n-before, records, round+1)
		}
	}
	rig.Eventually(t, "they are gone", func() bool { return messages() == before })
}

// A bucket that forgets, or that resurrects, is refused, with the list of reasons; what
// only can lose is reported.
func TestUnsafeBucket(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := natskv.New(rig.Within(t), nc, natskv.Config{}); !errors.Is(err, natskv.ErrNoBucket) {
		t.Fatalf("no bucket: %v", err)
	}
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	rig.CreateBucket(t, nc, natskv.BucketConfig{}) // again: nothing to do
	if err := natskv.CreateBucket(rig.Within(t), nc, natskv.BucketConfig{Replicas: 1, MaxBytes: 32 << 20}); !says(err, "bucket exists with another configuration") || !strings.Contains(err.Error(), "max bytes") {
		t.Errorf("another size: %v", err)
	}
	if err := natskv.CreateBucket(rig.Within(t), nc, natskv.BucketConfig{Bucket: "three", MaxBytes: 1 << 20}); err == nil || !strings.Contains(err.Error(), "Replicas: 1") {
		t.Errorf("three replicas on one server: %v", err)
	}
	var log rig.Journal
	if _, err := natskv.New(rig.Within(t), nc, natskv.Config{Logger: log.Logger()}); err != nil {
		t.Fatal(err)
	}
	if log.Count("replicas: 1", "level=WARN") != 1 {
		t.Errorf("one replica was not reported:\n%s", &log)
	}
	if log.Count("clock") != 0 {
		t.Errorf("one machine has two clocks:\n%s", &log)
	}

	st := rig.StreamNamed(t, js, rig.SessionsStream)
	good := st.CachedInfo().Config
	good.FirstSeq = 0
	for i, c := range []struct {
		want   string
		change func(c *jetstream.StreamConfig)
	}{
		{"", func(*jetstream.StreamConfig) {}},
		{"history", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }},
		{"history", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 }},
		{"max age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }},
		{"max messages", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 }},
		{"max bytes", func(c *jetstream.StreamConfig) { c.MaxBytes = -1 }},
		{"max message size", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }},
		{"discard", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
		{"TTL", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }},
		{"markers", func(c *jetstream.StreamConfig) {
			c.SubjectDeleteMarkerTTL, c.AllowRollup, c.DenyPurge = time.Minute, true, false
		}},
		{"deletes", func(c *jetstream.StreamConfig) { c.DenyDelete = false }},
		{"purges", func(c *jetstream.StreamConfig) { c.DenyPurge = false }},
		{"rollups", func(c *jetstream.StreamConfig) { c.AllowRollup, c.DenyPurge = true, false }},
		{"direct", func(c *jetstream.StreamConfig) { c.AllowDirect = true }},
		{"retention", func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }},
		{"per subject", func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true }},
		{"acknowledgements", func(c *jetstream.StreamConfig) { c.NoAck = true }},
		{"subjects", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "else") }},
		{"metadata", func(c *jetstream.StreamConfig) { c.Metadata = nil }},
		{"republished", func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Destination: "copy.>"} }},
	} {
		name := fmt.Sprint("b", i)
		cfg := good
		cfg.Name, cfg.Subjects, cfg.MaxBytes = "KV_"+name, []string{"$KV." + name + ".>"}, 1<<20
		c.change(&cfg)
		if _, err := js.CreateStream(rig.Within(t), cfg); err != nil {
			t.Errorf("%s: the server refuses it: %v", c.want, err)
			continue
		}
		_, err := natskv.New(rig.Within(t), nc, natskv.Config{Bucket: name})
		if c.want == "" {
			if err != nil {
				t.Errorf("the good twin: %v", err)
			}
			continue
		}
		if !says(err, "bucket unsafe") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q named: %v", c.want, err)
		}
	}
	// What the command line makes.
	if _, err := js.CreateKeyValue(rig.Within(t), jetstream.KeyValueConfig{Bucket: "plain"}); err != nil {
		t.Fatal(err)
	}
	if _, err := natskv.New(rig.Within(t), nc, natskv.Config{Bucket: "plain"}); !says(err, "bucket unsafe") {
		t.Errorf("a plain bucket: %v", err)
	}
}

// A service needs the rights that doc.go lists, all of them and no other.
func TestStoreRights(t *testing.T) {
	t.Parallel()
	rights := []string{"$KV.sessions.>", "$JS.API.STREAM.INFO.KV_sessions", "$JS.API.STREAM.MSG.GET.KV_sessions"}
	br := rig.NewBroker(t, func(o *server.Options) {
		user := func(name string, publish []string) *server.User {
			return &server.User{Username: name, Password: "x", Permissions: &server.Permissions{
				Publish:   &server.SubjectPermission{Allow: publish},
				Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_" + name + ".>"}},
			}}
		}
		o.Users = []*server.User{
			{Username: "admin", Password: "x"},
			user("maker", []string{"$JS.API.STREAM.CREATE.KV_sessions", "$JS.API.STREAM.INFO.KV_sessions"}),
			user("service", rights),
		}
		for i := range rights {
			o.Users = append(o.Users, user(fmt.Sprint("lacks", i), slices.Delete(slices.Clone(rights), i, i+1)))
		}
	})
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL(), rig.As("maker")...), natskv.BucketConfig{})
	var denied rig.Journal
	s := rig.OpenStore(t, rig.StoreConnection(t, br.URL(), append(rig.As("service"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		slog.New(denied.Logger().Handler()).Error(err.Error())
	}))...))
	n := mustSave(t, s, "a", "one", 0)
	n = mustSave(t, s, "a", "two", n)
	mustLoad(t, s, "a", "two", n)
	if _, err := s.Load(rig.Within(t), "b"); !errors.Is(err, refresh.ErrNotFound) {
		t.Error(err)
	}
	if _, err := s.Save(rig.Within(t), "a", nil, n-1, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Error(err)
	}
	if denied.Count() != 0 {
		t.Errorf("rights that doc.go does not list:\n%s", &denied)
	}
	for i, right := range rights {
		nc := rig.StoreConnection(t, br.URL(), append(rig.As(fmt.Sprint("lacks", i)), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
		rig.AskUntil(t, "told of a right that is missing", func(ctx context.Context) error {
			_, err := natskv.New(ctx, nc, natskv.Config{})
			if err == nil {
				t.Fatalf("opened without %s", right)
			}
			if errors.Is(err, nats.ErrPermissionViolation) {
				return nil
			}
			return fmt.Errorf("without %s: %w", right, err)
		})
	}
}

// A full bucket refuses, forgets nothing, and says so.
func TestFullBucket(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, func(o *server.Options) { o.SyncAlways = false }) // not about its disk
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{MaxBytes: 4 << 20})
	s, other := rig.OpenStore(t, nc), rig.OpenStore(t, nc)
	value := strings.Repeat("x", recordstore.MaxValueBytes-1000)
	saved := map[string]uint64{}
	for i := 0; ; i++ {
		key := fmt.Sprint("k", i)
		n, err := s.Save(rig.Within(t), key, []byte(value), 0, later())
		if err == nil {
			saved[key] = n
			continue
		}
		if !errors.Is(err, natskv.ErrFull) || errors.Is(err, refresh.ErrConflict) {
			t.Fatal(err)
		}
		break
	}
	if len(saved) < 10 {
		t.Errorf("full after %d records", len(saved))
	}
	for key, n := range saved {
		mustLoad(t, s, key, value, n)
	}
	if _, err := other.Save(rig.Within(t), "new", []byte(value), 0, later()); !errors.Is(err, natskv.ErrFull) {
		t.Errorf("a new record by another instance: %v", err)
	}
	// Those that there are can still be changed, which is how sessions end, and it is
	// known which are not there.
	value += value[:1000]
	for key, n := range saved {
		saved[key] = mustSave(t, s, key, value, n)
	}
	if _, err := s.Load(rig.Within(t), "none"); !errors.Is(err, refresh.ErrNotFound) {
		t.Error(err)
	}
	// The operator makes room.
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	st := rig.StreamNamed(t, js, rig.SessionsStream)
	cfg := st.CachedInfo().Config
	cfg.MaxBytes *= 2
	if _, err := js.UpdateStream(rig.Within(t), cfg); err != nil {
		t.Fatal(err)
	}
	rig.AskUntil(t, "there is room again", func(ctx context.Context) error {
		_, err := s.Save(ctx, "new", nil, 0, later())
		if errors.Is(err, refresh.ErrConflict) {
			return nil // the one before was written, and its answer came too late
		}
		return err
	})
}

// A Save whose answers are lost knows, by asking again, what became of it; if it may
// not ask, it says that it does not know.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	rig.CreateBucket(t, rig.StoreConnection(t, br.URL()), natskv.BucketConfig{})
	p := rig.NewProxy(t, br.URL())
	s := rig.OpenStore(t, rig.StoreConnection(t, p.URL()))
	other := rig.OpenStore(t, rig.StoreConnection(t, br.URL()))

	// The first answer to the write is lost.
	n := mustSave(t, s, "a", "one", 0)
	lost := 0
	p.Lose(func(string) bool { lost++; return lost == 1 })
	n = mustSave(t, s, "a", "two", n)
	p.Lose(nil)
	if lost < 2 {
		t.Errorf("%d answers: none was lost", lost)
	}
	mustLoad(t, other, "a", "two", n)

	// No answer comes back before the caller gives up.
	p.Lose(func(string) bool { return true })
	ctx, cancel := context.WithTimeout(rig.Within(t), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Save(ctx, "a", []byte("three"), n, later()); !says(err, "write not answered") || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save without an answer: %v", err)
	}
	ctx, cancel = context.WithTimeout(rig.Within(t), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Load(ctx, "b"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, refresh.ErrNotFound) {
		t.Errorf("Load without an answer: %v", err)
	}
	p.Lose(nil)
	r := written(t, other, "a", "three")

	// Replaced by another while the answers were lost: nobody can tell.
	began, begin := make(chan struct{}), sync.Once{}
	p.Lose(func(string) bool {
		begin.Do(func() { close(began) })
		return true
	})
	done := make(chan error, 1)
	go func() {
		_, err := s.Save(rig.Within(t), "a", []byte("four"), r.Revision, later())
		done <- err
	}()
	<-began
	mustSave(t, other, "a", "five", written(t, other, "a", "four").Revision)
	p.Lose(nil)
	if err := <-done; !says(err, "write not answered") || errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save that was replaced: %v", err)
	}
	// Replaced by another that had the same revision: that is a conflict.
	r = written(t, other, "a", "five")
	mustSave(t, other, "a", "six", r.Revision)
	lost = 0
	p.Lose(func(string) bool { lost++; return lost == 1 })
	if _, err := s.Save(rig.Within(t), "a", []byte("seven"), r.Revision, later()); !errors.Is(err, refresh.ErrConflict) {
		t.Errorf("Save of an old revision, first answer lost: %v", err)
	}
}

// written waits until the record has that value, whose writer does not know it yet.
func written(t *testing.T, s refresh.Store, key, value string) (r refresh.Record) {
	t.Helper()
	rig.AskUntil(t, key+" is written", func(ctx context.Context) (err error) {
		r, err = s.Load(ctx, key)
		if err == nil && string(r.Value) != value {
			err = fmt.Errorf("it is %q", r.Value)
		}
		return err
	})
	return r
}

// Constructors name what they refuse.
func TestStoreConfig(t *testing.T) {
	t.Parallel()
	br := rig.NewBroker(t, nil)
	nc := rig.StoreConnection(t, br.URL())
	rig.CreateBucket(t, nc, natskv.BucketConfig{})
	for want, cfg := range map[string]natskv.Config{
		"":                {},
		"field ClockSkew": {ClockSkew: time.Millisecond},
		"field Bucket":    {Bucket: "a.b"},
	} {
		if _, err := natskv.New(rig.Within(t), nc, cfg); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", cfg, err, want)
		}
	}
	for want, cfg := range map[string]natskv.BucketConfig{
		"field Bucket":   {Bucket: "*"},
		"field Replicas": {Replicas: 6},
		"field MaxBytes": {MaxBytes: 1},
	} {
		if err := natskv.CreateBucket(rig.Within(t), nc, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", cfg, err, want)
		}
	}
	mortal, _ := rig.Client(t, br.URL())
	if _, err := natskv.New(rig.Within(t), mortal, natskv.Config{}); err == nil || !strings.Contains(err.Error(), "MaxReconnects") {
		t.Errorf("a connection that gives up: %v", err)
	}
	touchy, _ := rig.Client(t, br.URL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if _, err := natskv.New(rig.Within(t), touchy, natskv.Config{}); err == nil || !strings.Contains(err.Error(), "nats.IgnoreAuthErrorAbort") {
		t.Errorf("a connection that two authentication errors end: %v", err)
	}
	var log rig.Journal
	if _, err := natskv.New(rig.Within(t), nc, natskv.Config{Logger: log.Logger()}); err != nil || log.Count("PingInterval") != 1 {
		t.Errorf("two minutes between pings: %v, log\n%s", err, &log)
	}
	mortal.Close()
	for _, nc := range []*nats.Conn{nil, mortal} {
		if _, err := natskv.New(rig.Within(t), nc, natskv.Config{}); err == nil {
			t.Error("no connection was accepted")
		}
	}
}
