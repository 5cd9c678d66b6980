package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
)

type order struct{ Number, Item, Price, State string }

var orders = map[string][]order{
	"alice": {{"2087", "Storm lantern, brass", "€ 89.00", "On its way"}, {"2031", "Pocket compass", "€ 34.50", "Delivered"}, {"1964", "Oilcloth, 2 m", "€ 21.00", "Delivered"}},
	"bob":   {{"2090", "Claw hammer", "€ 27.90", "Being packed"}},
}

// serveOrders serves what knows nothing of cookies and sessions: it verifies access tokens by
// itself, against a denylist of its own, and asks nobody.
func serveOrders(ctx context.Context, l net.Listener, server nats.InProcessConnProvider, keySet string) {
	list := must(revoke.NewList(revoke.Config{Logger: log}))
	member := must(bus.Join(ctx, bus.Config{InProcess: server, List: list, Name: "orders", Logger: log}))
	defer member.Close()
	keys := must(token.NewRemoteKeySet(ctx, keySet, token.RemoteKeySetConfig{InsecureAllowHTTP: true, Logger: log})) // a socket of this machine; https everywhere else
	defer keys.Close()
	verifier := must(token.NewVerifier(token.VerifierConfig{
		Issuer: issuer, OwnIssuer: true, Audiences: []string{"orders"}, Algorithms: []token.Algorithm{token.EdDSA}, Keys: keys, Revocations: list, Logger: log,
	}))
	must(0, member.WaitFresh(ctx))
	mux := http.NewServeMux()
	mux.Handle("GET /orders", verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := token.FromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(orders[claims.Subject()])
	})))
	serve(ctx, l, mux)
}

// fetchOrders asks that service, with somebody's access token.
func fetchOrders(ctx context.Context, url, accessToken string) (list []order, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r := must(http.NewRequestWithContext(ctx, "GET", url+"/orders", nil))
	r.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return list, json.NewDecoder(resp.Body).Decode(&list)
}
