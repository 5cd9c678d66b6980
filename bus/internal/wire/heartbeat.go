package wire

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// HeartbeatTTL keeps heartbeats for so long that after an ordinary outage the
// record applied last is still there to begin at, and long enough to count in digests.
const HeartbeatTTL = "15m"

func decodeHeartbeat(data []byte) (replica.Heartbeat, revoke.Fault) {
	if len(data) > maxHeartbeatBytes {
		return replica.Heartbeat{}, revoke.FaultOversized
	}
	var v, nonce, ts, name, digest strictjson.Value
	err := strictjson.Object(data, func(member string, value strictjson.Value) error {
		switch member {
		case "v":
			v = value
		case "nonce":
			nonce = value
		case "ts":
			ts = value
		case "name":
			name = value
		case "digest":
			digest = value
		}
		return nil
	})
	if err != nil {
		return replica.Heartbeat{}, revoke.FaultMalformed
	}
	// Every follower may publish here, so a critical mark counts for nothing: one
	// bad follower must not make all replicas stale.
	switch n, ok := v.Int(); {
	case !ok || n < 1:
		return replica.Heartbeat{}, revoke.FaultMalformed
	case n != wireVersion:
		return replica.Heartbeat{}, revoke.FaultVersion
	}
	var hb replica.Heartbeat
	digits, ok := nonce.Text()
	if !ok || len(digits) != hex.EncodedLen(len(hb.Nonce)) {
		return replica.Heartbeat{}, revoke.FaultMalformed
	}
	if _, err := hex.Decode(hb.Nonce[:], []byte(digits)); err != nil {
		return replica.Heartbeat{}, revoke.FaultMalformed
	}
	if !Instant(ts, &hb.Time) || hb.Time.UnixMilli() < revoke.MinMillis {
		return replica.Heartbeat{}, revoke.FaultMalformed
	}
	if s, ok := name.Text(); ok && len(s) <= MaxNameBytes { // it is for people
		hb.Name = s
	}
	hb.Digest = decodeDigest(digest)
	return hb, 0
}

// EncodeHeartbeat returns the canonical JSON of hb. Its time is rounded down: a
// heartbeat must not claim to have been sent later than it was.
func EncodeHeartbeat(hb replica.Heartbeat) ([]byte, error) {
	if len(hb.Name) > MaxNameBytes {
		return nil, fmt.Errorf("bus: heartbeat name has %d bytes, more than %d", len(hb.Name), MaxNameBytes)
	}
	w := writer{buf: append(make([]byte, 0, 128), `{"v":1,"nonce":"`...)}
	w.buf = hex.AppendEncode(w.buf, hb.Nonce[:])
	w.buf = append(w.buf, `","ts":`...)
	w.buf = strconv.AppendInt(w.buf, hb.Time.UnixMilli(), 10)
	w.text("name", hb.Name)
	if hb.Digest != nil {
		w.buf = appendDigest(w.buf, hb.Digest)
	}
	return w.end()
}
