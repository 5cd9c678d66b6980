package snapshots

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/transport"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// Objects have the form that other programs know: chunks on a subject that nobody else uses,
// and what is known of them, as JSON, on a subject of the object's name. The client library
// writes and reads it, too, but follows links, waits for missing chunks until its context
// ends, and keeps one subject more for each object that was ever removed.

const (
	chunkBytes    = 128 << 10
	maxInfoBytes  = 4 << 10
	maxChunks     = 1 << 20
	chunksAtOnce  = 64
	chunkTimeout  = time.Second // for the next chunk
	leastRate     = 1 << 20     // bytes a second that reading an object takes at worst
	abandonedRead = time.Minute // until the server forgets a reader that is gone
)

var (
	// ErrSize means that the pointer or the bucket names an impossible or inadmissible size.
	ErrSize = errors.New("snapshot of another size than may be")

	// ErrNoObject means that the snapshot that is pointed to is not there.
	ErrNoObject = errors.New("the snapshot that is pointed to is not there")

	// ErrContent means that an object does not hold what its name says.
	ErrContent = errors.New("the object does not hold what its name says")
)

// An object is what the bucket says of one.
type object struct {
	id     string // the last token of its chunks' subject
	size   int64
	chunks int
	stored time.Time // by the server's clock
}

func (b *Bucket) infoSubject(name string) string {
	return "$O." + b.name + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// info returns what the bucket says of the object of that name.
func (b *Bucket) info(ctx context.Context, name string) (object, error) {
	m, err := b.last(ctx, b.objects(), b.infoSubject(name))
	switch {
	case err != nil:
		return object{}, err
	case m.sequence == 0:
		return object{}, fmt.Errorf("bus: snapshots: %w: %s", ErrNoObject, name)
	}
	o, err := decodeInfo(m.data)
	if err != nil {
		return object{}, fmt.Errorf("bus: snapshots: %w: %s: %w", ErrNoObject, name, err)
	}
	o.stored = m.at
	return o, nil
}

func decodeInfo(data []byte) (o object, err error) {
	if len(data) > maxInfoBytes {
		return o, fmt.Errorf("%d bytes say what it is", len(data))
	}
	err = strictjson.Object(data, func(member string, v strictjson.Value) error {
		ok := true
		switch member {
		case "nuid":
			o.id, ok = v.Text()
			ok = ok && o.id != "" && len(o.id) <= 64 && !strings.ContainsFunc(o.id, func(r rune) bool {
				return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
			})
		case "size":
			o.size, ok = v.Int()
			ok = ok && o.size >= 0
		case "chunks":
			var n int64
			n, ok = v.Int()
			ok = ok && n >= 0 && n <= maxChunks
			o.chunks = int(n)
		case "deleted":
			ok = v.JSON() == "false"
		}
		if !ok {
			return fmt.Errorf("member %q cannot be used", member)
		}
		return nil
	})
	if err == nil && (o.id == "" || o.size == 0 || o.chunks == 0) {
		err = errors.New("it is deleted, a link or empty")
	}
	return o, err
}

// Put stores an object, unless it is there already. Between two of its chunks it calls
// between, whose error ends it. The chunks go one after the other: heartbeats of the same
// connection must not wait behind all of them.
func (b *Bucket) Put(ctx context.Context, data []byte, between func() error) (digest [32]byte, err error) {
	digest = sha256.Sum256(data)
	p := Pointer{Digest: digest}
	name := p.Name()
	if o, err := b.info(ctx, name); err == nil && o.size == int64(len(data)) {
		return digest, nil
	} else if err != nil && !errors.Is(err, ErrNoObject) {
		return digest, err
	}
	id := rand.Text()
	n := 0
	for rest := data; len(rest) > 0; n++ {
		chunk := rest[:min(chunkBytes, len(rest))]
		rest = rest[len(chunk):]
		if _, err = b.store(ctx, b.objects(), &nats.Msg{Subject: b.chunks(id), Data: chunk}); err == nil {
			err = between()
		}
		if err != nil {
			b.abandon(id)
			return digest, err
		}
	}
	info := append(make([]byte, 0, 512), `{"name":"`+name+`","description":"snapshot of a replica of the revocations","options":{"max_chunk_size":`...)
	info = strconv.AppendInt(info, chunkBytes, 10)
	info = append(info, `},"bucket":"`+b.name+`","nuid":"`+id+`","size":`...)
	info = strconv.AppendInt(info, int64(len(data)), 10)
	info = append(info, `,"mtime":"0001-01-01T00:00:00Z","chunks":`...)
	info = strconv.AppendInt(info, int64(n), 10)
	info = append(info, `,"digest":"SHA-256=`+base64.URLEncoding.EncodeToString(digest[:])+`"}`...)
	_, err = b.store(ctx, b.objects(), &nats.Msg{Subject: b.infoSubject(name), Data: info}, jetstream.WithExpectLastSequencePerSubject(0))
	if errors.Is(err, ErrMoved) { // another has stored the same meanwhile, or its remains are there
		b.abandon(id)
		if o, again := b.info(ctx, name); again == nil && o.size == int64(len(data)) {
			return digest, nil
		}
	}
	return digest, err
}

// abandon removes the chunks of an object that did not come about, also where the call has
// no time left. What it cannot remove, a later sweep does.
func (b *Bucket) abandon(id string) {
	ctx, cancel := context.WithTimeout(b.t.Context, askTimeout)
	defer cancel()
	_ = b.purge(ctx, b.chunks(id))
}

// purge removes what the object store holds on a subject.
func (b *Bucket) purge(ctx context.Context, subject string) error {
	l, err := b.link()
	if err != nil {
		return err
	}
	api := jetstream.DefaultAPIPrefix + "STREAM.PURGE." + b.objects()
	before := l.Conn.LastError()
	m, err := transport.Attempt(ctx, l, storeTimeout, func(ctx context.Context) (*nats.Msg, error) {
		return l.Conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: api, Data: []byte(`{"filter":"` + subject + `"}`)})
	})
	if err != nil {
		return b.explain(err, before, api)
	}
	done := false
	err = strictjson.Object(m.Data, func(member string, v strictjson.Value) error {
		done = done || member == "success" && v.JSON() == "true"
		return nil
	})
	if err != nil || !done {
		return fmt.Errorf("bus: snapshots: %s does not remove %s", b.objects(), subject)
	}
	return nil
}

// Get reads the object that p names, of most bytes at the most, and nothing of it before it
// is all there and is what its name says. It ends when nothing has come for a few seconds,
// and after a time that its size allows.
func (b *Bucket) Get(ctx context.Context, p Pointer, most int64) ([]byte, error) {
	if p.Size <= 0 || p.Size > most {
		return nil, fmt.Errorf("bus: snapshots: %w: %d bytes, where %d are the most", ErrSize, p.Size, most)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+time.Duration(p.Size/leastRate)*time.Second)
	defer cancel()
	o, err := b.info(ctx, p.Name())
	if err != nil {
		return nil, err
	}
	if o.size != p.Size {
		return nil, fmt.Errorf("bus: snapshots: %w: %d bytes, where the pointer says %d", ErrSize, o.size, p.Size)
	}
	data, err := b.read(ctx, o)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(data) != p.Digest {
		return nil, fmt.Errorf("bus: snapshots: %w", ErrContent)
	}
	return data, nil
}

// read returns what the chunks of an object hold.
func (b *Bucket) read(ctx context.Context, o object) ([]byte, error) {
	l, err := b.link()
	if err != nil {
		return nil, err
	}
	name := "hybridtoken-" + rand.Text()
	api := jetstream.DefaultAPIPrefix + "CONSUMER.CREATE." + b.objects() + "." + name + "." + b.chunks(o.id)
	before := l.Conn.LastError()
	consumer, err := transport.Attempt(ctx, l, storeTimeout, func(ctx context.Context) (jetstream.Consumer, error) {
		return l.JetStream.CreateConsumer(ctx, b.objects(), jetstream.ConsumerConfig{
			Name: name, FilterSubject: b.chunks(o.id), DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckNonePolicy,
			InactiveThreshold: abandonedRead, Replicas: 1, MemoryStorage: true,
		})
	})
	if err != nil {
		return nil, b.explain(err, before, api)
	}
	// Nobody waits for the answer; a server that does not hear of it forgets it by itself.
	defer func() {
		_ = l.Conn.Publish(jetstream.DefaultAPIPrefix+"CONSUMER.DELETE."+b.objects()+"."+name, nil)
	}()
	var data []byte // grows as chunks come: that they are many is only said
	empty := false  // the last request brought nothing
	for left := o.chunks; left > 0; {
		// They are all there, or are not to come: a server that is behind is given a moment.
		n := min(left, chunksAtOnce)
		batch, err := consumer.FetchNoWait(n)
		if empty {
			batch, err = consumer.Fetch(n, jetstream.FetchMaxWait(chunkTimeout))
		}
		if err != nil {
			return nil, b.explain(err, before, api)
		}
		if data, n, err = take(ctx, batch, data, o.size); err != nil {
			return nil, err
		}
		if left -= n; n == 0 && empty {
			return nil, fmt.Errorf("bus: snapshots: %w: %d of %d chunks are missing", ErrContent, left, o.chunks)
		}
		empty = n == 0
	}
	if int64(len(data)) != o.size {
		return nil, fmt.Errorf("bus: snapshots: %w: %d bytes, where %d were to come", ErrContent, len(data), o.size)
	}
	return data, nil
}

// take appends the chunks of a batch to data, of which there may be so many bytes.
func take(ctx context.Context, batch jetstream.MessageBatch, data []byte, size int64) ([]byte, int, error) {
	n := 0
	for {
		select {
		case m, ok := <-batch.Messages():
			if !ok {
				return data, n, nil
			}
			chunk := m.Data()
			need := int64(len(data)) + int64(len(chunk))
			if need > size {
				return data, n, fmt.Errorf("bus: snapshots: %w: more than %d bytes", ErrContent, size)
			}
			if need > int64(cap(data)) {
				data = append(make([]byte, 0, min(max(2*int64(cap(data)), need), size)), data...)
			}
			data = append(data, chunk...)
			n++
		case <-ctx.Done():
			return data, n, fmt.Errorf("bus: snapshots: %w", context.Cause(ctx))
		}
	}
}
