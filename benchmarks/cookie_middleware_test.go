package benchmarks_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

// BenchmarkCookieMiddleware compares a request of a browser's session through the middleware of
// package web with Verify of its token alone, and with the Verifier's own middleware, whose token comes
// in a header. It reports how often one of each allocates.
func BenchmarkCookieMiddleware(b *testing.B) {
	p := load.NewParty(token.EdDSA)
	list := load.Must(revoke.NewList(revoke.Config{Local: true}))
	load.Revoke(list, 1_000_000)
	verifier := p.Verifier(list, 1<<20)
	sessions := load.Must(refresh.NewManager(refresh.Config{Issuer: p.Issuer, Store: refresh.NewMemoryStore(), Revocations: list, Lifetimes: refresh.Web}))
	defer sessions.Close()
	browser := load.Must(web.NewBrowser(web.BrowserConfig{Sessions: sessions, Verifier: verifier, Client: "web"}))

	login := httptest.NewRequest("POST", "https://shop.example/login", nil)
	login.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	grant := load.Must(browser.Login(w, login, refresh.Login{Subject: "user-1", Audience: []string{"orders"}, AuthTime: time.Now()}))
	byCookie, byHeader := httptest.NewRequest("GET", "/orders", nil), httptest.NewRequest("GET", "/orders", nil)
	for _, c := range w.Result().Cookies() {
		byCookie.AddCookie(c)
	}
	byHeader.Header.Set("Authorization", "Bearer "+grant.AccessToken())
	passed := 0
	page := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ })
	cookies, headers := browser.Middleware(page), verifier.Middleware(page)
	verify := func(int) {
		if _, err := verifier.Verify(b.Context(), grant.AccessToken()); err != nil {
			b.Fatal(err)
		}
	}
	cookie := func(int) { cookies.ServeHTTP(w, byCookie) }
	header := func(int) { headers.ServeHTTP(w, byHeader) }
	allocations := map[string]float64{}
	for name, work := range map[string]func(int){"verify": verify, "cookie": cookie, "header": header} {
		allocations[name] = testing.AllocsPerRun(1000, func() { work(0) })
	}
	rounds(b, 1<<12, contender{Name: "verify", Work: verify}, contender{Name: "header", Work: header}, contender{Name: "cookie", Work: cookie})
	for name, n := range allocations {
		b.ReportMetric(n, name+"-allocs")
	}
	if passed == 0 {
		b.Fatal("nobody was let in")
	}
}
