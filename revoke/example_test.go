package revoke_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A program that lives in one process needs no bus.
func ExampleList() {
	list, err := revoke.NewList(revoke.Config{Local: true})
	if err != nil {
		panic(err)
	}
	login := revoke.Now()
	token := revoke.Identity{
		Issuer: "https://auth.example.com", Token: "4pLh2", Session: "s-17", Subject: "user-1",
		IssuedAt: login.Time(), ExpiresAt: login.Time().Add(15 * time.Minute),
	}
	fmt.Println("before:", list.Check(revoke.Now(), &token, revoke.Deny()))

	err = list.Apply(revoke.Now(), revoke.Event{
		Issuer: "https://auth.example.com", Kind: revoke.KindSession, Value: "s-17", Reason: "logout",
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("after:", list.Check(revoke.Now(), &token, revoke.Deny()))
	// Output:
	// before: <nil>
	// after: revoke: token revoked by session
}

// A password change ends every session of a user but the one it was made in.
func ExampleEvent_keep() {
	list, _ := revoke.NewList(revoke.Config{Local: true})
	now := revoke.Now()
	issued := now.Time().Add(-time.Minute)
	if err := list.Apply(now, revoke.Event{
		Issuer: "https://auth.example.com", Kind: revoke.KindSubject, Value: "user-1",
		Keep: []string{"this-browser"}, Reason: "password_change",
	}); err != nil {
		panic(err)
	}
	for _, sid := range []string{"this-browser", "stolen-phone"} {
		id := revoke.Identity{Issuer: "https://auth.example.com", Subject: "user-1", Session: sid, IssuedAt: issued}
		fmt.Println(sid, "revoked:", errors.Is(list.Check(now, &id, revoke.Deny()), revoke.ErrRevoked))
	}
	// Output:
	// this-browser revoked: false
	// stolen-phone revoked: true
}

// A List that no bus feeds cannot vouch for anything, and says so.
func ExampleStaleError() {
	list, _ := revoke.NewList(revoke.Config{})
	id := revoke.Identity{Issuer: "https://auth.example.com", Token: "4pLh2", IssuedAt: time.Now()}
	err := list.Check(revoke.Now(), &id, revoke.Deny())
	fmt.Println(err, errors.Is(err, revoke.ErrUnavailable))
	// Output:
	// revoke: replica syncing (not followed) true
}
