package accounts_test

import (
	"fmt"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// The operator of both configurations can take a backup and give it back, larger than
// what the server sends unasked, and nobody else can. What was revoked in it is refused by
// who reads it then.
func TestExampleBackup(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"accounts.conf", "one-account.conf"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			br := rig.ExampleBroker(t, file)
			rig.CreateStream(t, rig.Dial(t, br.URL(), rig.ExampleUser("operator")...), bus.StreamConfig{})
			auth := rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{}, nil)
			var events []revoke.Event
			for i := range 2000 {
				events = append(events, revoke.Event{Kind: revoke.KindSession, Value: fmt.Sprint("kept-", i), Reason: fmt.Sprintf("%0200d", i)})
			}
			if _, err := auth.PublishAll(rig.Within(t), events); err != nil {
				t.Fatal(err)
			}
			auth.Close() // it would publish again what is lost

			nc, js := rig.Client(t, br.URL(), rig.ExampleUser("operator")...)
			b, err := rig.BackUp(rig.Within(t), nc, bus.DefaultStream)
			if err != nil {
				t.Fatal(err)
			}
			if len(b.Chunks) < 2 {
				t.Errorf("a backup of %d chunks", len(b.Chunks))
			}
			if err := js.DeleteStream(rig.Within(t), bus.DefaultStream); err != nil {
				t.Fatal(err)
			}
			if err := b.Restore(rig.Within(t), nc, bus.DefaultStream); err != nil {
				t.Fatal(err)
			}
			l := rig.NewList(t, rig.Quick)
			rig.WaitFresh(t, rig.Join(t, rig.Dial(t, br.URL(), rig.ExampleUser("auth")...), bus.Config{}, l))
			rig.MustRefuse(t, l, rig.Session("kept-0"), rig.Session("kept-1999"))
			rig.MustPass(t, l, rig.Session("other"))

			var rights []right
			for _, name := range []string{"operator", "auth", "publisher", "verifier"} {
				rights = append(rights, right{name, "$JS.SNAPSHOT.RESTORE.x", name == "operator"}, right{name, "$JS.SNAPSHOT.ACK.x", name == "operator"})
			}
			checkRights(t, br.URL(), rights)
		})
	}
}
