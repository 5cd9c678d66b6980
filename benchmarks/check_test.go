package benchmarks_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bits-and-blooms/bloom/v3"

	"github.com/hybridtoken/hybridtoken/revoke"
)

const (
	issuer  = "https://auth.example.com"
	entries = 100_000 // of kinds token, session and subject, 100 : 10 : 1
	asked   = 1 << 14 // distinct tokens
)

// BenchmarkCheck compares one check of a token that nothing revokes, with all seven
// kinds live and freshness judged, with as many bare look-ups in a Bloom filter as a
// check has keys. The filter is sized for the same entries and rate.
func BenchmarkCheck(b *testing.B) {
	list := freshList(b)
	list.ExpectIssuer(issuer) // as a verifier does
	filter := bloom.NewWithEstimates(entries, 1e-4)
	now := revoke.Now()
	apply := func(e revoke.Event) {
		e.Issuer = issuer
		if err := list.Apply(now, e); err != nil {
			b.Fatal(err)
		}
		filter.AddString(e.Value)
	}
	past := now.Time().Add(-time.Hour)
	for i := range entries {
		switch v := fmt.Sprintf("%032x", i); {
		case i%111 == 0:
			apply(revoke.Event{Kind: revoke.Subject, Value: v, Before: past})
		case i%11 == 0:
			apply(revoke.Event{Kind: revoke.Session, Value: v})
		default:
			apply(revoke.Event{Kind: revoke.Token, Value: v})
		}
	}
	for i := range 10 {
		apply(revoke.Event{Kind: revoke.Client, Value: fmt.Sprint("client", i), Before: past})
		apply(revoke.Event{Kind: revoke.Tenant, Value: fmt.Sprint("tenant", i), Before: past})
		apply(revoke.Event{Kind: revoke.Key, Value: fmt.Sprintf("%042dA", i)})
	}
	apply(revoke.Event{Kind: revoke.Issuer, Before: past})

	ids := make([]revoke.Identity, asked)
	keys := make([][7]string, asked)
	for i := range ids {
		k := [7]string{
			fmt.Sprintf("%032x", entries+i), fmt.Sprintf("%031xs", entries+i), fmt.Sprintf("user-%d", i),
			fmt.Sprintf("app-%d", i%50), fmt.Sprintf("org-%d", i%1000), fmt.Sprintf("%042dB", i%3), issuer,
		}
		keys[i] = k
		ids[i] = revoke.Identity{
			Issuer: k[6], Token: k[0], Session: k[1], Subject: k[2], Client: k[3], Tenant: k[4], Key: k[5],
			IssuedAt: now.Time(), ExpiresAt: now.Time().Add(15 * time.Minute),
		}
	}
	b.Run("List.Check", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if err := list.Check(revoke.Now(), &ids[i%asked], revoke.Deny()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bloom.Test×7", func(b *testing.B) {
		b.ReportAllocs()
		hits := 0
		for i := 0; b.Loop(); i++ {
			for _, k := range keys[i%asked] {
				if filter.TestString(k) {
					hits++
				}
			}
		}
	})
}

// freshList returns a List that a log feeds and a heartbeat has proven; the log
// consists of that heartbeat.
func freshList(b *testing.B) *revoke.List {
	b.Helper()
	list, err := revoke.NewList(revoke.Config{MaxStaleness: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	feed, err := list.NewFeed()
	if err != nil {
		b.Fatal(err)
	}
	now := revoke.Now()
	sub := feed.Begin(now, revoke.LogInfo{Horizons: revoke.DefaultHorizons()})
	nonce := [16]byte{1}
	feed.Sent(now, nonce)
	record := revoke.Record{Generation: sub.Generation, Delivery: 1, Sequence: 1, Time: now.Time()}
	if err := feed.Heartbeat(revoke.Now(), record, revoke.Heartbeat{Nonce: nonce, Time: now.Time()}); err != nil {
		b.Fatal(err)
	}
	if s := list.Status(revoke.Now()); s.State != revoke.Fresh {
		b.Fatalf("the list is %s (%s)", s.State, s.Reason)
	}
	return list
}
