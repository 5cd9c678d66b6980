package embedded

import (
	"strings"
	"sync"
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/printtest"
)

// TestPrinting prints every exported type in every way, a Server while it is closed: it
// shows nothing of the server inside, where accounts and connections are (invariant 10).
func TestPrinting(t *testing.T) {
	s, err := Start(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]any{"Server": s, "Config": Config{}}
	printtest.HoldsAll(t, ".", table)
	var closing sync.WaitGroup
	closing.Go(func() { s.Close() })
	defer closing.Wait()
	for name, v := range table {
		if out := printtest.Prints(v); name == "Server" && (strings.Contains(out, "closing") || !strings.Contains(out, "in memory: true")) {
			t.Errorf("a Server prints %.300s", out)
		}
	}
}
