package tokentest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/tokentest"
)

// t stands for that of a test, which examples have none of.
var t = new(testing.T)

// hello is the handler under test.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	fmt.Fprintf(w, "hello %s", claims.Subject())
})

// A handler behind the middleware, with good tokens and bad.
func Example() {
	auth := tokentest.New(t)
	api := auth.Verifier.Middleware(hello, token.RequireScope("greet"))
	get := func(raw string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Printf("%d %s.\n", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	get(auth.Token(tokentest.Scope("greet")))
	get(auth.Token())
	get(auth.Expired())
	get(auth.Foreign())
	get(auth.Revoked())
	// Output:
	// 200 .
	// 403 Bearer realm="tokentest", error="insufficient_scope", scope="greet".
	// 401 Bearer realm="tokentest", error="invalid_token".
	// 401 Bearer realm="tokentest", error="invalid_token".
	// 401 Bearer realm="tokentest", error="invalid_token".
}

// The handler alone: it only needs the claims.
func ExampleContext() {
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	hello(w, r.WithContext(tokentest.Context(t, r.Context(), tokentest.Subject("ada"))))
	fmt.Println(w.Body)
	// Output: hello ada
}

// A client that proves possession of its key.
func ExampleClient() {
	auth, client := tokentest.New(t), tokentest.NewClient(t)
	api := auth.Verifier.Middleware(hello)
	r := httptest.NewRequest("GET", "/", nil)
	client.Authorize(r, auth.Token(client.Bind))
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	fmt.Println(w.Body)
	// Output: hello user-1
}
