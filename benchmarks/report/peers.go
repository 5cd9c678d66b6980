package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/redis/go-redis/v9"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/load"
	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// A denylist answers for one token, whose seven keys all count.
type denylist struct {
	name    string
	revoked func(a *load.Asked) bool
	add     func(value string)
	slow    bool // asks over a socket
	errs    bool // and refuses good tokens now and then
	close   func()
}

// ours is a replica that a log feeds.
func ours(live int) denylist {
	list := load.FreshList()
	list.ExpectIssuer(load.Issuer)
	load.Revoke(list, live)
	return denylist{name: "hybridtoken List", add: apply(list), revoked: func(a *load.Asked) bool {
		return list.Check(revoke.Now(), &a.Identity, revoke.Deny()) != nil
	}}
}

// What people build: the values of all kinds in one set. None of these knows cutoffs,
// expiry, or how old its knowledge is.

func lockedMap(live int) denylist {
	var mu sync.RWMutex
	m := make(map[string]struct{}, live)
	load.Events(live, func(e revoke.Event) { m[e.Value] = struct{}{} })
	return denylist{name: "map under RWMutex",
		add: func(v string) { mu.Lock(); m[v] = struct{}{}; mu.Unlock() },
		revoked: func(a *load.Asked) bool {
			mu.RLock()
			defer mu.RUnlock()
			for _, k := range a.Keys {
				if _, ok := m[k]; ok {
					return true
				}
			}
			return false
		}}
}

func syncMap(live int) denylist {
	var m sync.Map
	load.Events(live, func(e revoke.Event) { m.Store(e.Value, struct{}{}) })
	return denylist{name: "sync.Map",
		add: func(v string) { m.Store(v, struct{}{}) },
		revoked: func(a *load.Asked) bool {
			for _, k := range a.Keys {
				if _, ok := m.Load(k); ok {
					return true
				}
			}
			return false
		}}
}

// lockedBloom answers "perhaps": it refuses good tokens at its false-positive rate.
func lockedBloom(live int) denylist {
	var mu sync.RWMutex
	f := bloom.NewWithEstimates(uint(live), 1e-4)
	load.Events(live, func(e revoke.Event) { f.AddString(e.Value) })
	return denylist{name: "Bloom filter under RWMutex", errs: true,
		add: func(v string) { mu.Lock(); f.AddString(v); mu.Unlock() },
		revoked: func(a *load.Asked) bool {
			mu.RLock()
			defer mu.RUnlock()
			hit := false
			for _, k := range a.Keys {
				hit = f.TestString(k) || hit
			}
			return hit
		}}
}

// startRedis starts one of our own, which nobody else uses and which keeps nothing.
func startRedis(live int) (denylist, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return denylist{}, fmt.Errorf("redis-server is not installed: Redis is not measured")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return denylist{}, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir, err := os.MkdirTemp("", "report-redis")
	if err != nil {
		return denylist{}, err
	}
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return denylist{}, err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 64})
	stop := func() {
		client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	}
	ctx := context.Background()
	for end := time.Now().Add(time.Minute); client.Ping(ctx).Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			stop()
			return denylist{}, fmt.Errorf("redis-server does not answer")
		}
	}
	pipe := client.Pipeline()
	load.Events(live, func(e revoke.Event) {
		pipe.Set(ctx, "revoked:"+e.Value, 1, time.Hour)
		if pipe.Len() == 10_000 {
			if _, err := pipe.Exec(ctx); err != nil {
				panic(err)
			}
		}
	})
	if _, err := pipe.Exec(ctx); err != nil {
		stop()
		return denylist{}, err
	}
	return denylist{name: "Redis EXISTS, loopback", slow: true, close: stop,
		revoked: func(a *load.Asked) bool {
			keys := make([]string, len(a.Keys))
			for i, k := range a.Keys {
				keys[i] = "revoked:" + k
			}
			n, err := client.Exists(ctx, keys...).Result()
			if err != nil {
				fail("Redis", err)
			}
			return n > 0
		}}, nil
}

// introspection asks a server on this machine for each request (RFC 7662); the server
// looks into a map and checks no signature.
func introspection(live int) (denylist, error) {
	m := make(map[string]struct{}, live)
	load.Events(live, func(e revoke.Event) { m[e.Value] = struct{}{} })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return denylist{}, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		active := true
		for _, k := range strings.Split(r.FormValue("token"), " ") {
			if _, ok := m[k]; ok {
				active = false
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"active": active, "iss": load.Issuer, "client_id": "web"})
	})}
	go srv.Serve(l)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	target := "http://" + l.Addr().String()
	return denylist{name: "introspection over HTTP, loopback", slow: true, close: func() { srv.Close() },
		revoked: func(a *load.Asked) bool {
			resp, err := client.PostForm(target, url.Values{"token": {strings.Join(a.Keys[:], " ")}})
			if err != nil {
				fail("introspection", err)
			}
			defer resp.Body.Close()
			var answer struct{ Active bool }
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				fail("introspection", err)
			}
			return !answer.Active
		}}, nil
}

// asking returns a contender that asks about one token after the other, and counts
// wrong answers.
func (d denylist) asking(all []load.Asked, wrong *atomic.Int64) measure.Contender {
	return measure.Contender{Name: d.name, Work: func(i int) {
		if a := &all[i%len(all)]; d.revoked(a) != a.Revoked {
			wrong.Add(1)
		}
	}}
}
