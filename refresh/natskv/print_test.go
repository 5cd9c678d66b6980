package natskv

import (
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
)

// TestNothingPrintsASecret prints every exported type in every way, while records are saved,
// and looks for what the options of a connection hold (invariant 10).
func TestNothingPrintsASecret(t *testing.T) {
	const password, bearer = "the password of the service", "the token of the connection"
	nc := &nats.Conn{Opts: nats.Options{User: "sessions", Password: password, Token: bearer}}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]any{"Store": &Store{js: js, bucket: "sessions", prefix: subjectPrefix("sessions")}, "Config": Config{}, "BucketConfig": BucketConfig{}}
	printtest.HoldsAll(t, ".", table)
	store := table["Store"].(*Store)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // as a Save does
		for {
			select {
			case <-stop:
				return
			default:
				store.room.take(1, true)
			}
		}
	})
	defer wg.Wait()
	defer close(stop)
	for name, v := range table {
		out := printtest.Prints(v)
		for what, secret := range map[string]string{"password": password, "token": bearer} {
			if found := printtest.Leaks(out, printtest.Forms([]byte(secret))); len(found) > 0 {
				t.Errorf("%s shows the %s: %q", name, what, found)
			}
		}
	}
	// The test itself: what is in the clear is found.
	if out := printtest.Prints(struct{ P string }{password}); len(printtest.Leaks(out, printtest.Forms([]byte(password)))) == 0 {
		t.Error("a password in the clear is not found")
	}
}
