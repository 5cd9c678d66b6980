// The orders service.
package main

import (
	"fmt"
	"net/http"

	"github.com/hybridtoken/hybridtoken/examples/microservices/internal/service"
	"github.com/hybridtoken/hybridtoken/token"
)

func main() {
	service.API("orders", func(mux *http.ServeMux, tokens *token.Verifier) {
		mux.Handle("GET /orders", tokens.Middleware(http.HandlerFunc(orders), token.RequireScope("orders")))
	})
}

func orders(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	fmt.Fprintf(w, "%s ordered a storm lantern\n", claims.Subject())
}
