#!/usr/bin/env bash
# Chromium binds no session to its device whose cookie begins with __Host-Http-, unless the host is an address.
#
# Chromium 156.0.8078.108 (Debian 12, headless, keys in software), driven by
# github.com/chromedp/chromedp v0.23.1. A site that has device-bound sessions (DBSC, the W3C's draft
# of 2026-02-17) names the cookie that they keep alive, with its attributes, and the browser judges
# whether such a cookie could be set. Guessed was: __Host-Http-, which demands no more than
# __Host- and __Http- together, passes where both do. On a host with a name the browser takes the
# cookie from a Set-Cookie line and sends it back, but makes no session of it
# (InvalidCredentialsCookie); of each of the two prefixes alone it does. On https://127.0.0.1, where
# one tries such a thing first, it makes one of all three. The login goes on all the same, so that
# nothing but the missing proofs shows it.
#
# So a site that takes the strictest names for its session cookies changes the bound one to __Host-,
# and its tests give the browser a name of a host (--host-resolver-rules), not an address.
#
# It needs chromium, takes some 20 s, ends with 1 if the browser behaves otherwise, and printed:
#
#	Chromium 156.0.8078.108
#	127.0.0.1: __Host-session: bound: Success; sent as a cookie: true
#	127.0.0.1: __Host-Http-session: bound: Success; sent as a cookie: true
#	localhost: __Host-Http-session: bound: InvalidCredentialsCookie; sent as a cookie: true
#	app.example: __Host-session: bound: Success; sent as a cookie: true
#	app.example: __Http-session: bound: Success; sent as a cookie: true
#	app.example: __Host-Http-session: bound: InvalidCredentialsCookie; sent as a cookie: true
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
cat >main.go <<'GO'
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return v
}

// ask has the browser make a session of that cookie at that host, and returns what it says of
// that, and whether it sends the cookie itself back.
func ask(ctx context.Context, host, name string) (result string, sent bool) {
	const attributes = "Path=/; Secure; HttpOnly; SameSite=Lax"
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/login":
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Secure-Session-Registration", `(ES256);path="/register";challenge="c"`)
			w.Header().Set("Set-Cookie", name+"=1; "+attributes)
			w.Header().Set("Content-Type", "text/html")
		case "/register":
			w.Header().Set("Set-Cookie", name+"=2; "+attributes)
			fmt.Fprintf(w, `{"session_identifier":"s","refresh_url":"/refresh","scope":{"include_site":false},"credentials":[{"type":"cookie","name":%q,"attributes":%q}]}`, name, attributes)
		case "/page":
			_, err := r.Cookie(name)
			sent = err == nil
		}
	}))
	defer s.Close()
	site := strings.Replace(s.URL, "127.0.0.1", host, 1)
	key := sha256.Sum256(s.Certificate().RawSubjectPublicKeyInfo)
	ctx, cancel := chromedp.NewExecAllocator(ctx, chromedp.ExecPath("chromium"), chromedp.Headless, chromedp.NoFirstRun, chromedp.DisableGPU,
		chromedp.Flag("no-sandbox", os.Getuid() == 0),
		chromedp.Flag("host-resolver-rules", "MAP app.example 127.0.0.1"),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])),
		chromedp.Flag("enable-features", "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"))
	defer cancel()
	tab, cancel := chromedp.NewContext(ctx)
	defer cancel()
	must(chromedp.Run(tab, chromedp.Navigate("about:blank")))
	results := make(chan string, 9)
	events := chromedp.Events(tab, network.DeviceBoundSessionEventOccurred)
	go func() {
		for e, err := range events {
			if err == nil && e.CreationEventDetails != nil {
				results <- string(e.CreationEventDetails.FetchResult)
			}
		}
	}()
	must(chromedp.Call(tab, network.EnableDeviceBoundSessions, network.EnableDeviceBoundSessionsParams{Enable: true}))
	must(chromedp.Run(tab, chromedp.Navigate(site+"/login")))
	select {
	case result = <-results:
	case <-time.After(20 * time.Second):
		result = "nothing within 20 s"
	}
	must(chromedp.Run(tab, chromedp.Navigate(site+"/page")))
	return result, sent
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	wrong := false
	for _, c := range []struct{ host, name, want string }{
		{"127.0.0.1", "__Host-session", "Success"},
		{"127.0.0.1", "__Host-Http-session", "Success"},
		{"localhost", "__Host-Http-session", "InvalidCredentialsCookie"},
		{"app.example", "__Host-session", "Success"},
		{"app.example", "__Http-session", "Success"},
		{"app.example", "__Host-Http-session", "InvalidCredentialsCookie"},
	} {
		result, sent := ask(ctx, c.host, c.name)
		fmt.Printf("%s: %s: bound: %s; sent as a cookie: %t\n", c.host, c.name, result, sent)
		wrong = wrong || result != c.want || !sent
	}
	if wrong {
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26.0

require github.com/chromedp/chromedp v0.23.1
MOD
chromium --version 2>/dev/null | cut -d " " -f 1,2
go run .
