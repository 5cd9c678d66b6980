package web

import (
	_ "embed"
	"net/http"
	"strconv"
	"strings"
)

// sessionScript is what [Browser.Handler] serves, once it knows its URL.
//
//go:embed session.js
var sessionScript string

// script serves the script. It needs nothing inline, so a page's Content-Security-Policy may be
// script-src 'self'.
func (b *Browser) script() http.HandlerFunc {
	text := strings.Replace(sessionScript, `"/session/"`, strconv.Quote(b.cfg.Path), 1)
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "max-age=3600") // it holds nothing of anybody's
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		_, _ = w.Write([]byte(text))
	}
}
