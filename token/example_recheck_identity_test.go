package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// A job is queued with the identity of who asked for it, and the worker asks again before it
// does the job.
func ExampleVerifier_RecheckIdentity() {
	users := tokentest.New(new(testing.T)) // in production: token.NewVerifier
	ctx := context.Background()

	type job struct {
		Report string
		For    revoke.Identity
	}
	claims, err := users.Verifier.Verify(ctx, users.Token(tokentest.Subject("user-1")))
	if err != nil {
		log.Fatal(err)
	}
	queued, err := json.Marshal(job{"sales", claims.Identity()}) // and no token
	if err != nil {
		log.Fatal(err)
	}

	work := func() string {
		var j job
		if err := json.Unmarshal(queued, &j); err != nil {
			return "drop it: " + err.Error()
		}
		err := users.Verifier.RecheckIdentity(ctx, j.For)
		switch {
		case errors.Is(err, token.ErrUnavailable):
			return "later: nobody can tell now"
		case err != nil:
			return "drop it: " + token.Cause(err)
		}
		return "do it for " + j.For.Subject
	}
	fmt.Println(work())
	users.Revoke(revoke.Event{Kind: revoke.KindSubject, Value: "user-1", Reason: "banned"})
	fmt.Println(work())
	// Output:
	// do it for user-1
	// drop it: revoked
}
