package token_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// Everything in one process: an issuer, and a service that accepts its tokens until
// the user is logged out.
func ExampleVerifier_Verify() {
	ctx := context.Background()
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		log.Fatal(err)
	}

	list, err := revoke.NewList(revoke.Config{Local: true}) // package bus feeds one over NATS
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer:      "https://auth.example.com",
		Audiences:   []string{"orders"},
		Algorithms:  []token.Algorithm{token.EdDSA},
		Keys:        ring,
		Revocations: list,
	})
	if err != nil {
		log.Fatal(err)
	}

	issued, err := issuer.Issue(ctx, issue.Request{
		Subject: "user-1", Client: "web", Session: "s-1", Audience: []string{"orders"}, Scope: []string{"orders:read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	claims, err := verifier.Verify(ctx, issued.Raw())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Subject(), claims.HasScope("orders:read"))

	err = list.Apply(revoke.Now(), revoke.Event{Issuer: claims.Issuer(), Kind: revoke.KindSession, Value: claims.SessionID()})
	if err != nil {
		log.Fatal(err)
	}
	_, err = verifier.Verify(ctx, issued.Raw())
	fmt.Println(err)

	// Output:
	// user-1 true
	// token: invalid token: revoke: token revoked by session
}

// What a caller does with each family of errors, where no middleware does it.
func ExampleVerifier_Verify_errors() {
	check := func(err error) string {
		switch {
		case err == nil:
			return "go on"
		case errors.Is(err, token.ErrUnavailable):
			return "503, try again" // the token may be good: not a 401
		case errors.Is(err, revoke.ErrRevoked):
			return "401, and worth an alarm"
		case errors.Is(err, token.ErrExpired):
			return "401, refresh"
		}
		return "401"
	}
	fmt.Println(check(token.ErrKeysUnavailable))
	fmt.Println(check(token.ErrUnknownKey))
	// Output:
	// 503, try again
	// 401
}

// A route that must go on through an outage of the bus, for tokens issued within
// the last minute: whatever this replica has not heard of is survived by no more.
func ExampleWithStalePolicy() {
	ctx := context.Background()
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{})
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	if err != nil {
		log.Fatal(err)
	}
	list, err := revoke.NewList(revoke.Config{}) // no bus feeds it: it can vouch for nothing
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer:      "https://auth.example.com",
		Audiences:   []string{"orders"},
		Algorithms:  []token.Algorithm{token.EdDSA},
		Keys:        ring,
		Revocations: list,
	})
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, issue.Request{Subject: "user-1", Client: "web", Audience: []string{"orders"}})
	if err != nil {
		log.Fatal(err)
	}

	_, err = verifier.Verify(ctx, issued.Raw())
	fmt.Println(errors.Is(err, revoke.ErrStale), errors.Is(err, token.ErrUnavailable))

	_, err = verifier.Verify(ctx, issued.Raw(), token.WithStalePolicy(revoke.AllowYounger(time.Minute)))
	fmt.Println(err)
	// Output:
	// true true
	// <nil>
}
