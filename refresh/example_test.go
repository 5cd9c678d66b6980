package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A single process: the Manager's own replica is the only one there is.
func Example() {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	check(err)
	defer ring.Close()
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	check(err)
	list, err := revoke.NewList(revoke.Config{Local: true})
	check(err)
	sessions, err := refresh.NewManager(refresh.Config{
		Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list, Lifetimes: refresh.Web,
		// With a bus: Publisher: member, and the List that it feeds.
	})
	check(err)
	defer sessions.Close()

	ctx := context.Background()
	before := time.Now() // then check the password
	grant, err := sessions.Login(ctx, refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"orders"}, AuthTime: before})
	check(err)

	grant, err = sessions.Refresh(ctx, refresh.Request{Token: grant.RefreshToken(), Client: "web"})
	check(err)
	fmt.Println("refreshed for", grant.Subject)

	check(sessions.Logout(ctx, grant.SessionID))
	_, err = sessions.Refresh(ctx, refresh.Request{Token: grant.RefreshToken(), Client: "web"})
	switch {
	case errors.Is(err, refresh.ErrLoginAgain):
		fmt.Println("log in again")
	case errors.Is(err, refresh.ErrTryAgain):
		fmt.Println("503, Retry-After")
	}
	// Output:
	// refreshed for user-1
	// log in again
}

// A password change: every other session ends, and the one it was made from goes on
// with new secrets.
func ExampleManager_LogoutAll() {
	sessions, ctx := newSessions(), context.Background()
	login := refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"orders"}, AuthTime: time.Now()}
	laptop, err := sessions.Login(ctx, login)
	check(err)
	stolen, err := sessions.Login(ctx, login)
	check(err)

	// Change the password first. Then:
	grant, err := sessions.LogoutAll(ctx, "user-1", refresh.Keep(laptop.SessionID), refresh.Because("password change"))
	check(err)

	_, err = sessions.Refresh(ctx, refresh.Request{Token: stolen.RefreshToken(), Client: "web"})
	fmt.Println("the other:", errors.Is(err, refresh.ErrLoginAgain))
	_, err = sessions.Refresh(ctx, refresh.Request{Token: grant.RefreshToken(), Client: "web"})
	fmt.Println("this one:", err)
	// Output:
	// the other: true
	// this one: <nil>
}

// Somebody has deleted his account: after that his sessions end, and nothing in the store
// tells any more of whom they were.
func ExampleManager_DeleteSubject() {
	sessions, ctx := newSessions(), context.Background()
	grant, err := sessions.Login(ctx, refresh.Login{
		Subject: "user-1", Client: "web", Audience: []string{"orders"}, AuthTime: time.Now(),
		Device: refresh.Device{Label: "Ada's phone"},
	})
	check(err)

	// Delete the account first. Then:
	err = sessions.DeleteSubject(ctx, "user-1")
	if errors.Is(err, refresh.ErrTryAgain) {
		fmt.Println("not all is done: call again")
	}
	check(err)

	_, err = sessions.Refresh(ctx, refresh.Request{Token: grant.RefreshToken(), Client: "web"})
	fmt.Println("log in again:", errors.Is(err, refresh.ErrLoginAgain))
	// Output:
	// log in again: true
}

// A health page: what calls came to, what is pending, how full the store is.
func ExampleManager_Status() {
	sessions, ctx := newSessions(), context.Background()
	defer sessions.Close()
	grant, err := sessions.Login(ctx, refresh.Login{Subject: "user-1", Client: "web", Audience: []string{"orders"}, AuthTime: time.Now()})
	check(err)
	for range 2 { // the first answer is lost on its way
		_, err = sessions.Refresh(ctx, refresh.Request{Token: grant.RefreshToken(), Client: "web"})
		check(err)
	}
	_, err = sessions.Refresh(ctx, refresh.Request{Token: "made up", Client: "web"})
	fmt.Println(errors.Is(err, refresh.ErrLoginAgain))

	status := sessions.Status()
	fmt.Println("logins:", status.Login.Done)
	fmt.Println("refreshes:", status.Refresh.Done, "of them answered again:", status.AnsweredAgain, "thefts:", status.Thefts)
	fmt.Println("log in again:", status.Refresh.LoginAgain, "try again:", status.Refresh.TryAgain)
	fmt.Println("pending:", status.Pending.Count, "clock ahead:", status.ClockAhead)
	// Output:
	// true
	// logins: 1
	// refreshes: 2 of them answered again: 1 thefts: 0
	// log in again: map[unknown:1] try again: map[]
	// pending: 0 clock ahead: 0s
}

// A page of devices, each with a button that ends it.
func ExampleManager_Sessions() {
	sessions, ctx := newSessions(), context.Background()
	_, err := sessions.Login(ctx, refresh.Login{
		Subject: "user-1", Client: "web", Audience: []string{"orders"}, AuthTime: time.Now(),
		Device: refresh.Device{Label: "Firefox on Linux", Address: "192.0.2.7"},
	})
	check(err)
	list, err := sessions.Sessions(ctx, "user-1")
	check(err)
	for _, s := range list {
		fmt.Println(s.Device.Label, s.Device.Address)
		check(sessions.Revoke(ctx, s.ID, "ended by its user", "user-1"))
	}
	// Output:
	// Firefox on Linux 192.0.2.7
}

func newSessions() *refresh.Manager {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	check(err)
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	check(err)
	list, err := revoke.NewList(revoke.Config{Local: true})
	check(err)
	sessions, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list, Lifetimes: refresh.Web})
	check(err)
	return sessions
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
