package replica_test

import (
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
)

func ExampleLogDigest() {
	var d replica.LogDigest
	at := time.Unix(1_800_000_000, 0)
	d.Add(&replica.Record{Sequence: 1, Time: at, Subject: "revocations.v1.x.session", Data: []byte("{}"), Life: time.Hour})
	beat := replica.Record{Sequence: 2, Time: at, Subject: "revocations.v1.heartbeat", Data: []byte("{}"), Life: 15 * time.Minute}
	d.Add(&beat)
	digest := d.At(&beat)
	fmt.Printf("%d messages, %x…\n", digest.Count, digest.Sum[:4])
	// Output: 2 messages, 44431fb6…
}
