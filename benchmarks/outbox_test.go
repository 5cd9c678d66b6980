package benchmarks_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/bus/embedded"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// BenchmarkPublish compares publishing with an outbox file, which has each event on the
// disk before it is sent, with publishing without: one publisher, and 16 and 64 that
// publish at the same time and share the writing. The server keeps the stream in memory,
// so that nothing but the outbox waits for the disk, or on the same disk, synced with
// every event, as in production. Times are of one event; lat- of one call.
func BenchmarkPublish(b *testing.B) {
	for _, on := range []string{"memory", "disk"} {
		for _, publishers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("stream=%s/publishers=%d", on, publishers), func(b *testing.B) {
				cfg := embedded.Config{MaxBytes: 2 << 30}
				if on == "disk" {
					cfg.Dir = b.TempDir()
				}
				srv, err := embedded.Start(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				defer srv.Close()
				const each = 8 // calls of each publisher in one piece
				published := func(name, outbox string) (contender, *bus.Member) {
					p, err := bus.Join(b.Context(), bus.Config{InProcess: srv, Issuers: []string{load.Issuer}, OutboxFile: outbox})
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { p.Close() })
					return contender{Name: name, Work: func(i int) {
						var wg sync.WaitGroup
						for w := range publishers {
							wg.Go(func() {
								for k := range each {
									e := revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint(name, "-", i, "-", w, "-", k)}
									if _, err := p.Publish(context.Background(), e); err != nil {
										b.Error(err)
									}
								}
							})
						}
						wg.Wait()
					}}, p
				}
				plain, _ := published("plain", "")
				outbox, kept := published("outbox", filepath.Join(b.TempDir(), "outbox"))
				b.ResetTimer()
				times := measure.Rounds(max(24, b.N), 1, plain, outbox)
				b.StopTimer()
				if s := kept.Status().Publishing; s.OutboxFailures > 0 || s.Acknowledged == 0 {
					b.Fatalf("%+v", s)
				}
				events := float64(publishers * each)
				ratio, beyond := times[1].Over(times[0]), times[1].Beyond(times[0])
				b.ReportMetric(0, "ns/op") // of a round it says nothing
				b.ReportMetric(times[0].Median()/events/1e3, "plain-µs")
				b.ReportMetric(times[1].Median()/events/1e3, "outbox-µs")
				b.ReportMetric(times[0].Median()/each/1e3, "lat-plain-µs")
				b.ReportMetric(times[1].Median()/each/1e3, "lat-outbox-µs")
				b.ReportMetric(ratio.Median(), "outbox/plain")
				b.Logf("%s: an event costs %.0f µs beyond [quartiles %.0f, %.0f]; ratio %.2f [quartiles %.2f, %.2f]; %d rounds of %.0f events", b.Name(),
					beyond.Median()/events/1e3, beyond.Quantile(.25)/events/1e3, beyond.Quantile(.75)/events/1e3,
					ratio.Median(), ratio.Quantile(.25), ratio.Quantile(.75), len(ratio), events)
			})
		}
	}
}
