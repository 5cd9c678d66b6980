package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

//go:embed page
var files embed.FS

// listenLoopback listens on this machine alone: who can reach the page can do everything that it
// does.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("-listen: %q is no loopback address; the page has no login, and is for a laptop", host)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	return l, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// A page is what the browser talks to: files, a stream of states, and the buttons.
type page struct {
	world   *world
	viewers atomic.Int32
}

const mostViewers = 8

// newPage returns the page's handler. Another site's page in the same browser can send requests
// here, and by a name of its own (DNS rebinding) even read answers: hence the check of the host, and
// CrossOriginProtection for what changes something.
func newPage(w *world) http.Handler {
	p := &page{world: w}
	static, _ := fs.Sub(files, "page")
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(static))
	mux.HandleFunc("GET /state", p.states)
	mux.HandleFunc("POST /act", p.act)
	guarded := http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, 4<<10))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(host) {
			http.Error(rw, "this page is for the machine that it runs on", http.StatusForbidden)
			return
		}
		h := rw.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(rw, r)
	})
}

// states sends the state whenever it has changed, ten times a second at most.
func (p *page) states(rw http.ResponseWriter, r *http.Request) {
	if p.viewers.Add(1) > mostViewers {
		p.viewers.Add(-1)
		http.Error(rw, "too many windows show this page", http.StatusServiceUnavailable)
		return
	}
	defer p.viewers.Add(-1)
	rw.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last []byte
	for {
		now, err := json.Marshal(p.world.state())
		if err == nil && !bytes.Equal(now, last) {
			if _, err := fmt.Fprintf(rw, "data: %s\n\n", now); err != nil {
				return
			}
			if err := http.NewResponseController(rw).Flush(); err != nil {
				return
			}
			last = now
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// act presses a button.
func (p *page) act(rw http.ResponseWriter, r *http.Request) {
	var press struct {
		Do string `json:"do"`
		target
	}
	if r.Header.Get("Content-Type") != "application/json" || json.NewDecoder(r.Body).Decode(&press) != nil {
		reply(rw, http.StatusBadRequest, map[string]string{"error": "a button sends JSON"})
		return
	}
	what, err := p.world.act(r.Context(), press.Do, press.target)
	if say, ok := errors.AsType[errSay](err); ok {
		reply(rw, http.StatusConflict, map[string]string{"error": say.Error()})
	} else if err != nil {
		reply(rw, http.StatusInternalServerError, map[string]string{"error": "That did not work: " + err.Error()})
	} else {
		reply(rw, http.StatusOK, map[string]string{"what": what})
	}
}

func reply(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	json.NewEncoder(rw).Encode(body)
}
