package publish

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus/internal/scripted"
	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// That the stream has lost what was acknowledged is on the disk before anything is
// published again.
func TestLossIsSynced(t *testing.T) {
	o, _ := openTestOutbox(t)
	if err := o.put(time.Now(), outboxRecord(t, "a")); err != nil {
		t.Fatal(err)
	}
	broken, syncs := errors.New("input/output error"), 0
	o.syncFile = func(f *os.File) error { syncs++; return f.Sync() }
	if err := o.lost(2); err != nil || syncs != 1 {
		t.Errorf("%v, %d writings to the disk", err, syncs)
	}
	o.syncFile = func(*os.File) error { return broken }
	if err := o.lost(2); !errors.Is(err, broken) || o.status().failed != 1 {
		t.Errorf("%v, %d failures", err, o.status().failed)
	}
	o.file.Close() // the disk is gone
	if err := o.lost(2); err == nil || o.status().failed != 2 {
		t.Errorf("%v, %d failures", err, o.status().failed)
	}
}

// What has expired without being acknowledged is looked for once a second at most: it is
// work, and a full outbox is asked again with each event.
func TestOutboxIsSweptNowAndThen(t *testing.T) {
	o := &outbox{open: map[string]*record{}}
	now := time.Now()
	hold := func(id string) {
		rec := outboxRecord(t, id)
		rec.id, rec.gone = id, now
		o.hold(rec)
	}
	hold("a")
	o.sweep(now.Add(-time.Nanosecond))
	if len(o.open) != 1 {
		t.Fatal("it goes before it has expired")
	}
	o.sweep(now.Add(time.Second - 2))
	if len(o.open) != 1 {
		t.Fatal("swept again within a second")
	}
	o.sweep(now.Add(time.Second - 1))
	if len(o.open) != 0 || o.held != 0 {
		t.Fatalf("%d are left, %d bytes", len(o.open), o.held)
	}
}

// A file that is larger than any of ours is read up to that size, and said to be damaged.
func TestOutboxReadsNoMoreThanItWrites(t *testing.T) {
	first := outboxHead([]string{testIssuer})
	line := append(bytes.Repeat([]byte("0"), 100<<10), '\n')
	for _, more := range []int{0, 1} {
		lines := (maxOutboxBytes - len(first)) / len(line)
		rest := maxOutboxBytes - len(first) - lines*len(line)
		r := io.MultiReader(bytes.NewReader(first), io.LimitReader(&repeated{line: line}, int64(lines*len(line))), strings.NewReader(strings.Repeat("\n", rest+more)))
		_, damaged, why, err := readOutbox(r, []string{testIssuer}, time.Now())
		if err != nil || damaged != lines+more || why == nil {
			t.Errorf("%d bytes more: %d of %d lines damaged, %v", more, damaged, lines, err)
		}
	}
}

// A file of which nothing checks out is another program's if it is a text without a trace
// of ours; any trace, and any byte that no text holds, makes it ours.
func TestAnothersFile(t *testing.T) {
	half := outboxHead([]string{testIssuer})
	for first, want := range map[string]bool{
		"\x89HTstate\x00\x00": true, "user = root\n": true, "[section]\r\n\tkey = 1\n": true, "{\"a\":1}": true,
		"": false, " \n\t": false, "text\x00": false, "text\x1b": false, "\xff": false,
		`x "op":"put"`: false, `x {"gone":1`: false, `x {"id":"a"`: false, `x {"iss":"b"`: false, `x,"v":1}`: false,
		string(half): false, string(half[:9]): false,
	} {
		if got := isAnothers([]byte(first), []string{testIssuer}); got != want {
			t.Errorf("%q: %t", first, got)
		}
	}
	// So much of the first line as is the same decides: half of it is enough, less is not.
	garbled := func(keep int) []byte {
		b := bytes.Clone(half)
		for i := range b {
			if i >= keep && b[i] != '~' {
				b[i] = '~'
			}
		}
		return b
	}
	n := len(half)
	if trace := garbled((n + 1) / 2); isAnothers(trace, []string{testIssuer}) {
		t.Errorf("half of the first line is there: %q", trace)
	}
	if other := garbled(2); !isAnothers(other, []string{testIssuer}) {
		t.Errorf("two bytes are: %q", other)
	}
}

// An entry that lacks what it needs, or has a member of another type, is none.
func TestOutboxEntriesAreWhole(t *testing.T) {
	put := map[string]string{"op": `"put"`, "id": `"i"`, "subject": `"s"`, "payload": `"p"`, "signature": `"x"`, "gone": `1`, "open": `true`, "seq": `7`}
	encode := func(member, value string) []byte {
		var b strings.Builder
		for _, name := range []string{"op", "id", "subject", "payload", "signature", "gone", "open", "seq"} {
			v := put[name]
			if name == member {
				v = value
			}
			if v != "" {
				b.WriteString(`,"` + name + `":` + v)
			}
		}
		return []byte("{" + b.String()[1:] + "}")
	}
	e, ok := decodeOutboxEntry(encode("", ""))
	if !ok || e.op != "put" || e.id != "i" || e.subject != "s" || e.payload != "p" || e.signature != "x" || e.gone.UnixMilli() != 1 || !e.open || e.seq != 7 {
		t.Fatalf("%+v, %t", e, ok)
	}
	for _, c := range []struct {
		member, value string
		ok            bool
	}{
		{"op", `"ack"`, true}, {"op", `"drop"`, true}, {"op", `"lost"`, true}, {"op", `"other"`, false}, {"op", "", false}, {"op", "1", false},
		{"id", "", false}, {"id", `""`, false}, {"id", "1", false}, {"id", `"` + strings.Repeat("i", 64) + `"`, true}, {"id", `"` + strings.Repeat("i", 65) + `"`, false},
		{"subject", "1", false}, {"payload", "1", false}, {"payload", `"` + strings.Repeat("p", wire.MaxEventBytes) + `"`, true}, {"payload", `"` + strings.Repeat("p", wire.MaxEventBytes+1) + `"`, false},
		{"signature", "1", false}, {"signature", "", true}, {"gone", "", false}, {"gone", "0", false}, {"gone", `"1"`, false}, {"gone", "-1", false},
		{"open", "1", false}, {"open", "", true}, {"open", "false", true}, {"seq", "", true}, {"seq", "0", false}, {"seq", "-1", false}, {"seq", `"1"`, false}, {"seq", "1", true},
	} {
		if e, ok := decodeOutboxEntry(encode(c.member, c.value)); ok != c.ok || !ok && e != (outboxEntry{}) && c.member != "gone" && c.member != "payload" && c.member != "op" {
			t.Errorf("%s %.20s: %t, %+v", c.member, c.value, ok, e)
		}
	}
	put["seq"] = ""
	if _, ok := decodeOutboxEntry(encode("op", `"ack"`)); ok {
		t.Error("an acknowledgement without a place")
	}
	if _, ok := decodeOutboxEntry([]byte(`{"op":"lost","id":"-"`)); ok {
		t.Error("half an entry")
	}
}

// What goes wrong with the outbox is told with what it means: once for the event that a
// restart would forget, once for the one that it would publish again.
func TestOutboxTroubleIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		path := filepath.Join(t.TempDir(), "outbox")
		s, b := newScripted(t, config{Logger: log.Everything(), OutboxFile: path})
		defer b.end()
		publish := func(i int) {
			t.Helper()
			if _, err := b.publisher.Publish(t.Context(), sessionEvent(i)); err != nil {
				t.Fatal(err)
			}
		}
		publish(0)
		if text := log.String(); strings.Contains(text, "outbox") {
			t.Errorf("on a normal day: %s", text)
		}
		o := b.publisher.outbox
		o.mu.Lock()
		o.file.Close() // the disk is gone
		o.mu.Unlock()
		publish(1)
		if log.Count("a restart would forget these events") != 1 || log.Count("an event is published twice") != 1 {
			t.Errorf("logged %s", &log)
		}
		if st := b.publisher.Status(); st.OutboxErr == nil || st.OutboxFailures == 0 {
			t.Errorf("%+v", st)
		}
		// One that was put before the disk went, and is acknowledged or given up after.
		rec := outboxRecord(t, "put before")
		rec.id, rec.era = "before", 1
		log.Reset()
		b.publisher.settle(rec, 9, 1)
		b.publisher.settle(rec, 0, 0)
		if log.Count("after a restart an event is published twice") != 1 || log.Count("an event that was given up is tried again") != 1 {
			t.Errorf("logged %s", &log)
		}
		s.Do(func() { s.Take = func(int, *nats.Msg) string { return "" } })
	})
}

// A loss that cannot be written is told, and everything is published again all the same;
// each reason for which that fails is told once, its end once, and at Close what is left.
func TestRepublicationIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Everything()})
		defer b.end()
		for i := range 3 {
			if _, err := b.publisher.Publish(t.Context(), sessionEvent(i)); err != nil {
				t.Fatal(err)
			}
		}
		s.Do(func() {
			s.Info.Created, s.Info.State.LastSeq, s.Log = time.Now(), 0, nil
			s.Take = func(int, *nats.Msg) string {
				return scripted.Refusal(jsadmin.CodeStoreFailed, "maximum bytes exceeded")
			}
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if log.Count("has lost acknowledged revocations") != 1 || log.Count("republishing interrupted") != 1 || log.Count("everything known is republished") != 0 {
			t.Errorf("logged %s", &log)
		}
		s.Do(func() { s.Take = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if log.Count("everything known is republished") != 1 || log.Count("closed before everything") != 0 {
			t.Errorf("logged %s", &log)
		}
		log.Reset()
		s.Do(func() {
			s.Info.Created, s.Info.State.LastSeq, s.Log = time.Now(), 0, nil
			s.Take = func(int, *nats.Msg) string {
				return scripted.Refusal(jsadmin.CodeStoreFailed, "maximum bytes exceeded")
			}
		})
		time.Sleep(10 * time.Minute)
		b.close()
		if log.Count("closed before everything was republished") != 1 || log.Count("pending=3") != 1 {
			t.Errorf("logged %s", &log)
		}
		b.close()
		if _, err := b.publisher.Publish(t.Context(), sessionEvent(9)); !errors.Is(err, transport.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// An acknowledgement that tells of a loss of which the stream knows nothing is forged: it
// is counted and told, and the event is sent again.
func TestForgedAcknowledgementsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log scripted.Pages
		s, b := newScripted(t, config{Logger: log.Logger()})
		defer b.end()
		for i := range 3 {
			if _, err := b.publisher.Publish(t.Context(), sessionEvent(i)); err != nil {
				t.Fatal(err)
			}
		}
		forged := 0
		s.Do(func() {
			s.Take = func(_ int, m *nats.Msg) string {
				if forged++; forged <= 2 {
					return scripted.Stored(1)
				}
				return scripted.Stored(int(s.Store(m)))
			}
		})
		r, err := b.publisher.Publish(t.Context(), sessionEvent(3))
		if err != nil || r.Sequence != 4 || forged != 3 {
			t.Fatalf("%v, sequence %d after %d attempts", err, r.Sequence, forged)
		}
		if st := b.publisher.Status(); st.Contradicted != 2 || st.Losses != 0 || st.Acknowledged != 4 || log.Count("others may write to this connection's inbox") != 2 {
			t.Errorf("%+v, logged %s", st, &log)
		}
	})
}

// A publisher whose stream is not there when it is opened says so, once, and one that
// only follows, or has no connection, does not look.
func TestOpenTellsThatPublishingWillFail(t *testing.T) {
	for name, c := range map[string]struct {
		missing bool
		issuers []string
		want    int
	}{"missing": {true, []string{testIssuer}, 1}, "there": {false, []string{testIssuer}, 0}, "a follower's": {true, nil, 0}} {
		synctest.Test(t, func(t *testing.T) {
			var log scripted.Pages
			s := scripted.New(t)
			if c.missing {
				s.API = func(m *nats.Msg) (string, bool) {
					return `{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`, true
				}
			}
			conn := dialScripted(t, s)
			synctest.Wait()
			b, err := openCore(t, conn, config{Issuers: c.issuers, Logger: log.Logger()})
			if err != nil {
				t.Fatal(err)
			}
			defer b.end()
			if n := log.Count("publishing will fail until this is mended"); n != c.want {
				t.Errorf("%s: told %d times", name, n)
			}
		})
	}
}
