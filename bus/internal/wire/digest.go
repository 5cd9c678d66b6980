package wire

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
)

// digestVersion names the way in which [replica.LogDigest] computes; a digest of another
// is passed over.
const digestVersion = 1

// Lives reads for how long the server keeps messages. Most have the life of the one before:
// it is read once. The zero value is ready; it is not for concurrent use.
type Lives struct {
	text string
	life time.Duration
}

// Of returns for how long the server keeps m after its timestamp, as the server reads the
// header; 0 for ever.
func (l *Lives) Of(m *nats.Msg) time.Duration {
	values := m.Header[jetstream.MsgTTLHeader]
	if len(values) == 0 {
		return 0
	}
	if text := values[0]; text != l.text {
		l.text, l.life = strings.Clone(text), life(text) // the message is not kept for it
	}
	return l.life
}

func life(text string) time.Duration {
	if text == "" || strings.EqualFold(text, "never") {
		return 0
	}
	if d, err := time.ParseDuration(text); err == nil {
		return d
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 || seconds > math.MaxInt64/int64(time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// appendDigest appends the member of a heartbeat that says what its sender holds.
func appendDigest(b []byte, d *replica.Digest) []byte {
	b = append(b, `,"digest":{"alg":`...)
	b = strconv.AppendInt(b, digestVersion, 10)
	if d.Sequence > 0 {
		b = append(b, `,"seq":`...)
		b = strconv.AppendUint(b, d.Sequence, 10)
		b = append(b, `,"count":`...)
		b = strconv.AppendUint(b, d.Count, 10)
		b = append(b, `,"sum":"`...)
		b = hex.AppendEncode(b, d.Sum[:])
		b = append(b, '"')
	}
	return append(b, '}')
}

// decodeDigest returns nil for a digest that cannot be read: it counts for nothing, and
// the heartbeat that carries it as one without.
func decodeDigest(v strictjson.Value) *replica.Digest {
	if v.Kind() != '{' {
		return nil
	}
	var alg, seq, count, sum strictjson.Value
	err := strictjson.Object([]byte(v.JSON()), func(name string, v strictjson.Value) error {
		switch name {
		case "alg":
			alg = v
		case "seq":
			seq = v
		case "count":
			count = v
		case "sum":
			sum = v
		}
		return nil
	})
	if err != nil {
		return nil
	}
	if n, ok := alg.Int(); !ok || n != digestVersion {
		return nil
	}
	var d replica.Digest
	if !present(seq) && !present(count) && !present(sum) {
		return &d
	}
	at, ok1 := seq.Int()
	n, ok2 := count.Int()
	digits, ok3 := sum.Text()
	if !ok1 || !ok2 || !ok3 || at <= 0 || n < 0 || len(digits) != hex.EncodedLen(len(d.Sum)) {
		return nil
	}
	if _, err := hex.Decode(d.Sum[:], []byte(digits)); err != nil {
		return nil
	}
	d.Sequence, d.Count = uint64(at), uint64(n)
	return &d
}
