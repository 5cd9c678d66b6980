package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/hybridtoken/hybridtoken/refresh"
)

// story is what happens, and what is expected. Streams may take patience to end.
func story(ctx context.Context, out io.Writer, auth *auth, address string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	say := func(format string, args ...any) { fmt.Fprintf(out, "  "+format+"\n", args...) }
	expect := func(what string, err error, code codes.Code) error {
		if got := status.Code(err); got != code {
			return fmt.Errorf("%s: %s, want %s (error: %v)", what, got, code, err)
		}
		say("%s: %s", what, code)
		return nil
	}
	connect := func(user string, scope ...string) (*client, *refresh.Grant, error) {
		grant, err := auth.login(ctx, user, scope...)
		if err != nil {
			return nil, nil, err
		}
		c, err := dial(address, grant.AccessToken())
		return c, grant, err
	}

	fmt.Fprint(out, "\nWho may call what.\n")
	nobody, err := dial(address, "")
	if err != nil {
		return err
	}
	defer nobody.conn.Close()
	alice, session, err := connect("alice", "orders:read", "orders:write")
	if err != nil {
		return err
	}
	defer alice.conn.Close()
	bob, _, err := connect("bob", "orders:read")
	if err != nil {
		return err
	}
	defer bob.conn.Close()
	_, err = healthpb.NewHealthClient(nobody.conn).Check(ctx, new(healthpb.HealthCheckRequest))
	if err := expect("the health check, which is public, without a token", err, codes.OK); err != nil {
		return err
	}
	_, err = nobody.list(ctx)
	if err := expect("List without a token", err, codes.Unauthenticated); err != nil {
		return err
	}
	_, err = bob.list(ctx)
	if err := expect("List by Bob", err, codes.OK); err != nil {
		return err
	}
	if err := expect("Place by Bob, whose token lacks the scope", bob.place(ctx, "a hammer"), codes.PermissionDenied); err != nil {
		return err
	}
	if err := expect("Place by Alice, whose token has it", alice.place(ctx, "a lantern"), codes.OK); err != nil {
		return err
	}

	fmt.Fprint(out, "\nAlice follows her orders on a phone and a laptop, one login each, and Place comes from the laptop.\n")
	laptop, _, err := connect("alice", "orders:read", "orders:write")
	if err != nil {
		return err
	}
	defer laptop.conn.Close()
	onPhone, err := alice.follow(ctx)
	if err != nil {
		return err
	}
	onLaptop, err := laptop.follow(ctx)
	if err != nil {
		return err
	}
	if err := laptop.place(ctx, "a ladder"); err != nil {
		return err
	}
	both := map[string]func() (string, error){"phone": onPhone, "laptop": onLaptop}
	for _, want := range []string{"a lantern", "a ladder"} {
		for device, next := range both {
			if got, err := next(); err != nil || got != want {
				return fmt.Errorf("the %s is sent %q, not %q (error: %v)", device, got, want, err)
			}
		}
		say("both are sent %q", want)
	}

	fmt.Fprint(out, "\nAlice logs out on the phone. Its stream lies idle.\n")
	type end struct {
		err error
		at  time.Time
	}
	ended := make(chan end, 1)
	go func() {
		_, err := onPhone()
		ended <- end{err, time.Now()}
	}()
	began := time.Now()
	if err := auth.sessions.Logout(ctx, session.SessionID); err != nil {
		return err
	}
	select {
	case e := <-ended:
		if err := expect("the stream of the phone ends", e.err, codes.Unauthenticated); err != nil {
			return err
		}
		say("it ended %.1f ms after the click", float64(e.at.Sub(began))/float64(time.Millisecond))
	case <-time.After(patience):
		return fmt.Errorf("the stream of the phone goes on for %s", patience)
	}
	_, err = alice.list(ctx)
	if err := expect("List by the phone", err, codes.Unauthenticated); err != nil {
		return err
	}
	if err := expect("Place by the laptop", laptop.place(ctx, "a kite"), codes.OK); err != nil {
		return err
	}
	if got, err := onLaptop(); err != nil || got != "a kite" {
		return fmt.Errorf("the laptop is sent %q, not %q (error: %v)", got, "a kite", err)
	}
	say("the laptop is sent %q", "a kite")
	fmt.Fprint(out, "\neverything went as it should\n")
	return nil
}
