package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// events is a stream of server-sent events. It ends when the token does: that is the request's
// context, and docs/connections.md tells the rest.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		fmt.Fprint(w, ": still here\n\n")
		http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			cause := context.Cause(r.Context())
			switch {
			case errors.Is(cause, revoke.ErrRevoked):
				fmt.Fprint(w, "data: revoked\n\n")
			case errors.Is(cause, revoke.ErrStale):
				fmt.Fprint(w, "data: stale\n\n")
			}
			return
		}
	}
}

// listen reads such a stream until it ends, and says why it did: "revoked", "stale", or "lost" where
// the service did not say. It is "refused" if the service did not let it begin.
func listen(ctx context.Context, client *http.Client, url, raw string, began func()) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		return "lost"
	}
	r.Header.Set("Authorization", "Bearer "+raw)
	resp, err := client.Do(r)
	if err != nil {
		return "lost"
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return "refused"
	default:
		return "stale"
	}
	began()
	why, lines := "lost", bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if s, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			why = s
		}
	}
	return why
}
