package embedded_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/hybridtoken/hybridtoken/bus/embedded"
)

// A start that goes well logs nothing but that memory forgets: no connection is lost.
func TestStartLogsNoLostConnection(t *testing.T) {
	var log strings.Builder
	srv, err := embedded.Start(t.Context(), embedded.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil { // and with it all that writes into log
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, "kept in memory") || strings.Contains(text, "connect") {
		t.Errorf("logged:\n%s", text)
	}
}
