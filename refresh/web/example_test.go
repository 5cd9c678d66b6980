package web_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/web"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// An application with a login form, pages of its users, and the handler of the sessions.
func Example() {
	sessions, verifier := newSessions()
	browser, err := web.NewBrowser(web.BrowserConfig{Sessions: sessions, Verifier: verifier, Client: "shop"})
	check(err)

	login := func(w http.ResponseWriter, r *http.Request) {
		before := time.Now()
		if r.PostFormValue("user") != "ada" || r.PostFormValue("password") != "correct horse" { // your own check
			http.Error(w, "Wrong name or password.", http.StatusForbidden)
			return
		}
		_, err := browser.Login(w, r, refresh.Login{Subject: "user-1", Audience: []string{"shop"}, AuthTime: before})
		if err != nil {
			log.Print(err)
			web.Error(w, r, err)
			return
		}
		http.Redirect(w, r, web.ReturnPath(r.FormValue("return_to")), http.StatusSeeOther)
	}
	page := func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		fmt.Fprintf(w, "Hello, %s.", claims.Subject())
	}
	mux := http.NewServeMux()
	mux.Handle("/session/", browser.Handler())
	mux.Handle("POST /login", browser.GuardLogin(http.HandlerFunc(login)))
	mux.Handle("/", browser.Middleware(http.HandlerFunc(page)))

	server := httptest.NewTLSServer(mux)
	defer server.Close()
	client := server.Client()
	client.Jar, err = cookiejar.New(nil)
	check(err)
	post := func(path, form string) {
		r, err := http.NewRequest("POST", server.URL+path, strings.NewReader(form))
		check(err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", server.URL) // as every browser does
		answer, err := client.Do(r)
		check(err)
		text, err := io.ReadAll(answer.Body)
		check(err)
		fmt.Println(strings.TrimSpace(fmt.Sprint(path, " ", answer.StatusCode, " ", string(text))))
	}
	post("/login", url.Values{"user": {"ada"}, "password": {"correct horse"}, "return_to": {"/orders"}}.Encode())
	post("/session/logout", "")
	answer, err := client.Get(server.URL + "/orders")
	check(err)
	fmt.Println("/orders", answer.StatusCode)
	// Output:
	// /login 200 Hello, user-1.
	// /session/logout 204
	// /orders 401
}

// A password change: the browser that made it goes on with new secrets, all others are
// logged out.
func ExampleBrowser_LogoutOthers() {
	sessions, verifier := newSessions()
	browser, err := web.NewBrowser(web.BrowserConfig{Sessions: sessions, Verifier: verifier, Client: "shop"})
	check(err)
	changePassword := func(w http.ResponseWriter, r *http.Request) {
		// Change the password first. Then:
		_, err := browser.LogoutOthers(w, r, refresh.Because("password change"))
		switch {
		case errors.Is(err, refresh.ErrPending):
			fmt.Println("not all is done: call again")
		case err != nil:
			web.Error(w, r, err)
			return
		}
		fmt.Println("cookies set:", len(w.Header()["Set-Cookie"]))
	}
	h := browser.Middleware(http.HandlerFunc(changePassword))

	r := httptest.NewRequest("POST", "https://shop.example/login", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	_, err = browser.Login(w, r, refresh.Login{Subject: "user-1", Audience: []string{"shop"}, AuthTime: time.Now()})
	check(err)
	r = httptest.NewRequest("POST", "https://shop.example/password", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, c := range w.Result().Cookies() {
		r.AddCookie(c)
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	// Output: cookies set: 2
}

// A page that matters asks for the password again, and is a new session from then on.
func ExampleBrowser_Reauthenticate() {
	sessions, verifier := newSessions()
	browser, err := web.NewBrowser(web.BrowserConfig{Sessions: sessions, Verifier: verifier, Client: "shop"})
	check(err)
	mux := http.NewServeMux()
	mux.Handle("POST /confirm", browser.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := time.Now() // then check the password
		if _, err := browser.Reauthenticate(w, r, refresh.Login{AuthTime: before}); err != nil {
			web.Error(w, r, err)
			return
		}
		http.Redirect(w, r, "/pay", http.StatusSeeOther)
	})))
	mux.Handle("/pay", browser.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), token.RequireFresh(5*time.Minute)))
}

func ExampleReturnPath() {
	for _, to := range []string{"/orders?page=2", "//evil.example", `/\evil.example`, "https://evil.example"} {
		fmt.Println(web.ReturnPath(to))
	}
	// Output:
	// /orders?page=2
	// /
	// /
	// /
}

func newSessions() (*refresh.Manager, *token.Verifier) {
	ring, err := issue.NewEphemeralKeyring(issue.KeyringConfig{Algorithm: token.EdDSA})
	check(err)
	issuer, err := issue.NewIssuer(issue.Config{Issuer: "https://auth.example.com", Keys: ring})
	check(err)
	list, err := revoke.NewList(revoke.Config{Local: true})
	check(err)
	sessions, err := refresh.NewManager(refresh.Config{Issuer: issuer, Store: refresh.NewMemoryStore(), Revocations: list, Lifetimes: refresh.Web})
	check(err)
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Issuer: "https://auth.example.com", Audiences: []string{"shop"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: ring, Revocations: list,
	})
	check(err)
	return sessions, verifier
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
