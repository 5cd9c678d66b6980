package revoketest_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/revoke/revoketest"
)

// What a service answers while it is cut off from the bus, and after.
func Example() {
	b := revoketest.NewBus(revoketest.Config{})
	m, err := b.Join(revoke.Config{MaxStaleness: 15 * time.Second})
	if err != nil {
		panic(err)
	}
	b.Advance(time.Second)
	token := revoke.Identity{Issuer: "https://auth.example.com", Subject: "user-1", IssuedAt: b.Now()}
	fmt.Println("in step:", m.Check(token, revoke.Deny()))

	m.Partition()
	if _, err := b.Publish(revoke.Event{Issuer: "https://auth.example.com", Kind: revoke.KindSubject, Value: "user-1"}); err != nil {
		panic(err)
	}
	b.Advance(10 * time.Second)
	fmt.Println("cut off for 10 s:", m.Check(token, revoke.Deny()))
	b.Advance(10 * time.Second)
	fmt.Println("for 20 s, stale:", errors.Is(m.Check(token, revoke.Deny()), revoke.ErrStale))

	m.Heal()
	b.Advance(time.Second)
	fmt.Println("healed:", m.Check(token, revoke.Deny()))
	fmt.Println("violations:", b.Violations())
	// Output:
	// in step: <nil>
	// cut off for 10 s: <nil>
	// for 20 s, stale: true
	// healed: revoke: token revoked by subject
	// violations: <nil>
}
