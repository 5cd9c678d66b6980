#!/usr/bin/env bash
# nats-server takes JSON for its configuration, but not JSON's escapes.
#
# nats-server 2.15.3. Its configuration format takes what Go's encoding/json writes, until a
# subject holds ">", which every subject of a tree of permissions does: encoding/json writes
# it as \u003e (for HTML), which RFC 8259 section 7 makes the same text, and the server does
# not start. An encoder with SetEscapeHTML(false) is understood.
#
# It ends with 1 if the server behaves otherwise, and printed:
#
#	nats-server 2.15.3
#	written as {"allow":["orders.\u003e"]}: Parse error on line 1: 'Invalid escape character 'u'. Only the following escape characters are allowed: \xXX, \t, \n, \r, \", \\.'
#	written as {"allow":["orders.>"]}: the server reads "orders.>"
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
cat >main.go <<'GO'
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

func read(escape bool) (written, understood string, err error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escape)
	allow := map[string]any{"allow": []string{"orders.>"}}
	if err := e.Encode(allow); err != nil {
		panic(err)
	}
	written = strings.TrimSpace(b.String())
	config := fmt.Sprintf(`{"port": -1, "authorization": {"users": [{"user": "a", "password": "b", "permissions": {"publish": %s}}]}}`, written)
	if err := os.WriteFile("server.json", []byte(config), 0o600); err != nil {
		panic(err)
	}
	o, err := server.ProcessConfigFile("server.json")
	if err != nil {
		return written, "", err
	}
	return written, o.Users[0].Permissions.Publish.Allow[0], nil
}

func main() {
	fmt.Println("nats-server", server.VERSION)
	for _, escape := range []bool{true, false} {
		written, understood, err := read(escape)
		if err != nil {
			fmt.Printf("written as %s: %v\n", written, err)
		} else {
			fmt.Printf("written as %s: the server reads %q\n", written, understood)
		}
		if (understood == "orders.>") == escape {
			fmt.Println("another behaviour than described")
			os.Exit(1)
		}
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26
MOD
{ go get github.com/nats-io/nats-server/v2@v2.15.3 && go mod tidy; } >log 2>&1 || { cat log; exit 1; }
go run .
