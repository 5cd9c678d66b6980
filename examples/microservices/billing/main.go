// The billing service.
package main

import (
	"fmt"
	"net/http"

	"github.com/hybridtoken/hybridtoken/examples/microservices/internal/service"
	"github.com/hybridtoken/hybridtoken/token"
)

func main() {
	service.API("billing", func(mux *http.ServeMux, tokens *token.Verifier) {
		mux.Handle("GET /invoices", tokens.Middleware(http.HandlerFunc(invoices), token.RequireScope("billing")))
	})
}

func invoices(w http.ResponseWriter, r *http.Request) {
	claims, _ := token.FromContext(r.Context())
	fmt.Fprintf(w, "%s owes 48.00\n", claims.Subject())
}
