package replica_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Events that were gathered count before anything else is done that could tell of them, whether
// or not they are flushed by name: a heartbeat is a fence, and what ends a subscription loses none.
func TestGatheredCountBeforeAllElse(t *testing.T) {
	const n = 300
	for name, next := range map[string]func(*tape.Reader, *tape.Log){
		"flush": func(r *tape.Reader, _ *tape.Log) { r.Feed.Flush() },
		"heartbeat": func(r *tape.Reader, l *tape.Log) {
			r.Beat(l)
			r.Must(r.Read(l))
			r.Want(revoke.StateFresh, revoke.ReasonNone)
		},
		"fault": func(r *tape.Reader, l *tape.Log) {
			l.Append(r.Now.Time(), tape.Message{Fault: revoke.FaultMalformed})
			r.Must(r.Read(l))
		},
		"event": func(r *tape.Reader, l *tape.Log) {
			l.Revoke(r.Now.Time(), "one more")
			r.Must(r.Read(l))
		},
		"gap": func(r *tape.Reader, l *tape.Log) {
			l.Revoke(r.Now.Time(), "one more")
			r.N++
			if err := r.Read(l); !errors.Is(err, replica.ErrGap) {
				t.Errorf("a gap: %v", err)
			}
		},
		"begin":  func(r *tape.Reader, l *tape.Log) { r.Begin(l) },
		"broken": func(r *tape.Reader, _ *tape.Log) { r.Feed.Broken(r.Now, revoke.ReasonDisconnected) },
		"rewind": func(r *tape.Reader, _ *tape.Log) { r.Feed.Rewind() },
		"place":  func(r *tape.Reader, _ *tape.Log) { r.Feed.Place() },
		"close":  func(r *tape.Reader, _ *tape.Log) { r.Feed.Close(r.Now) },
	} {
		t.Run(name, func(t *testing.T) {
			r, l := tape.Ready(t)
			before := r.List.Stats(r.Now).Applied[revoke.KindToken]
			for i := range n {
				l.Revoke(r.Now.Time(), strconv.Itoa(i))
			}
			for i := range l.Messages {
				m := &l.Messages[i]
				if m.Seq <= r.Pos {
					continue
				}
				r.N, r.Pos = r.N+1, m.Seq
				received, err := replica.Receive(*m.Event)
				r.Must(err)
				rec := m.Record(r.Sub.Generation, r.N)
				r.Must(r.Feed.Gather(r.Now, &rec, &received))
			}
			if r.Refuses("0") || r.List.Stats(r.Now).Applied[revoke.KindToken] != before {
				t.Error("counted before it was flushed: the test tests nothing")
			}
			next(r, l)
			for i := range n {
				if !r.Refuses(strconv.Itoa(i)) {
					t.Fatalf("event %d is not obeyed", i)
				}
			}
			r.Feed.Flush() // a second time
			if got := r.List.Stats(r.Now).Applied[revoke.KindToken] - before; got < n || got > n+1 {
				t.Errorf("%d events applied", got)
			}
		})
	}
}

// What is kept of the issuer before decides nothing for the next: by turns, each issuer's
// events of each kind revoke its own tokens, and no other's.
func TestGatheredOfManyIssuers(t *testing.T) {
	r, _ := tape.Ready(t)
	gather := func(iss string, k revoke.Kind, value string) {
		r.N, r.Pos = r.N+1, r.Pos+1
		received, err := replica.Receive(revoke.Event{Issuer: iss, Kind: k, Value: value})
		r.Must(err)
		r.Must(r.Feed.Gather(r.Now, &replica.Record{Generation: r.Sub.Generation, Delivery: r.N, Sequence: r.Pos, Time: r.Now.Time()}, &received))
	}
	issuers := []string{"https://a.example", "https://b.example", "https://a.example/"}
	for i := range 30 {
		for k, iss := range issuers {
			gather(iss, revoke.KindToken+revoke.Kind((i+k)%2), iss+strconv.Itoa(i))
		}
	}
	r.Feed.Flush()
	for i := range 30 {
		for k, iss := range issuers {
			for _, other := range issuers {
				for kind := range 2 {
					id := revoke.Identity{Issuer: other, Token: iss + strconv.Itoa(i), Session: "s", IssuedAt: r.Now.Time()}
					if kind == 1 {
						id.Token, id.Session = "t", id.Token
					}
					want := other == iss && kind == (i+k)%2
					if got := errors.Is(r.List.Check(r.Now, &id, revoke.InsecureAllow()), revoke.ErrRevoked); got != want {
						t.Fatalf("event %d of %s, token of %s, kind %d: revoked %v", i, iss, other, kind, got)
					}
				}
			}
		}
	}
}
