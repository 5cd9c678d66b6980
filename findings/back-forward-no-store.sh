#!/usr/bin/env bash
# Whether Chromium keeps a no-store page for the Back button depends on the page's icon.
#
# Chromium 156.0.8078.108 (Debian 12, headless), driven by github.com/chromedp/chromedp v0.23.1.
# A page answered with Cache-Control: no-store, without any script, is left by a link's click and
# returned to by history.back(). It comes out of the back-forward cache as it was left, though
# nothing of it may be stored. It does not if the answer to the browser's own request for
# /favicon.ico is no-store as well: the reason that is given names a network request of a script,
# of which the page has none. A site that answers everything with no-store, as one with sessions
# may, is so tested without the cache, and has it as soon as somebody adds an icon.
#
# It needs chromium, takes some 20 s, ends with 1 if the browser behaves otherwise, and printed:
#
#	Chromium 156.0.8078.108
#	page storable, icon storable: kept
#	page no-store, icon in the page: kept
#	page no-store, icon storable: kept
#	page no-store, icon not found, storable: kept
#	page no-store, icon no-store: not kept (response-cache-control-no-store-with-js-network-request)
#	page no-store, icon not found, no-store: not kept (response-cache-control-no-store-with-js-network-request)
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"github.com/chromedp/chromedp"
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return v
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, chromedp.ExecPath("chromium"), chromedp.Headless, chromedp.NoFirstRun, chromedp.DisableGPU)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	wrong := false
	for _, c := range []struct {
		name             string
		page, icon, head string // Cache-Control, and what is in the page
		status           int    // of the icon
		kept             bool
	}{
		{"page storable, icon storable", "max-age=60", "max-age=60", "", 200, true},
		{"page no-store, icon in the page", "no-store", "no-store", "<link rel=icon href=data:,>", 200, true},
		{"page no-store, icon storable", "no-store", "max-age=60", "", 200, true},
		{"page no-store, icon not found, storable", "no-store", "", "", 404, true},
		{"page no-store, icon no-store", "no-store", "no-store", "", 200, false},
		{"page no-store, icon not found, no-store", "no-store", "no-store", "", 404, false},
	} {
		icon := make(chan struct{}, 9)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/favicon.ico" {
				if c.icon != "" {
					w.Header().Set("Cache-Control", c.icon)
				}
				w.WriteHeader(c.status)
				icon <- struct{}{}
				return
			}
			w.Header().Set("Cache-Control", c.page)
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, "<!doctype html>%s<title>t</title><a href=/other>other</a>", c.head)
		}))
		tab, cancel := chromedp.NewContext(ctx)
		must(chromedp.Run(tab, chromedp.Navigate(s.URL+"/page")))
		if c.head == "" {
			<-icon
		}
		wait := func(path string) {
			for there := false; !there; time.Sleep(20 * time.Millisecond) {
				there, _ = chromedp.Run(tab, chromedp.Evaluate[bool](`location.pathname === "`+path+`" && document.readyState === "complete"`))
				must(0, ctx.Err())
			}
		}
		must(chromedp.Run(tab, chromedp.Evaluate[int](`window.left = true, setTimeout(() => document.querySelector("a").click()), 0`)))
		wait("/other")
		must(chromedp.Run(tab, chromedp.Evaluate[int](`setTimeout(() => history.back()), 0`)))
		wait("/page")
		kept := must(chromedp.Run(tab, chromedp.Evaluate[bool](`window.left === true`)))
		text := "kept"
		if !kept {
			reasons := must(chromedp.Run(tab, chromedp.Evaluate[string](`performance.getEntriesByType("navigation")[0].notRestoredReasons.reasons.map(r => r.reason).filter(r => r.endsWith("request")).join(" ")`)))
			text = "not kept (" + reasons + ")"
		}
		fmt.Printf("%s: %s\n", c.name, text)
		wrong = wrong || kept != c.kept
		cancel()
		s.Close()
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
