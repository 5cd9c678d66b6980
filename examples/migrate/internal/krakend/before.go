// Package krakend moves revocations from KrakenD's revoker to this library.
package krakend

import "net/rpc"

// AddInput and AddOutput are the messages of the gateway's net/rpc service.
type (
	AddInput  struct{ Elems [][]byte }
	AddOutput struct{ Count int }
)

// Revoke tells each gateway, by name, port 1234: one that is down or new does not hear of it.
func Revoke(gateways []string, claim, value string) error {
	for _, gateway := range gateways {
		client, err := rpc.Dial("tcp", gateway)
		if err != nil {
			return err
		}
		var out AddOutput
		err = client.Call("BloomfilterRPC.Add", AddInput{Elems: [][]byte{[]byte(claim + "-" + value)}}, &out)
		client.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
