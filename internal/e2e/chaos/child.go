package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
)

// The program runs itself again for each process of the system, and tells it by
// these variables what to be.
const (
	roleVariable   = "CHAOS_ROLE"
	configVariable = "CHAOS_CONFIG"
)

// A childConfig is what a process of the system is told.
type childConfig struct {
	Name        string
	Dir         string // of the histories; a server's store
	Incarnation int

	Servers      string        // publishers and verifiers: the bus
	User         string        // and as whom they connect
	Stream       string        // verifiers: the stream or its mirror
	Rate         int           // publishers: events a second
	MaxStaleness time.Duration // verifiers

	Conf            string   // servers: file of the accounts
	Client, Cluster int      // servers: ports
	Routes          []string // servers: URLs
}

// A report is a line that a process writes for the driver.
type report struct {
	At    instant
	Ready bool // servers

	State, Reason string  // verifiers
	Proven        instant // verifiers
	Checks        uint64  // verifiers
	Resubscribed  uint64  // verifiers: subscriptions after the first
	Acked         uint64  // publishers
	Failed        uint64  // publishers: times that Publish returned an error
	LastAck       instant // publishers
	Settled       bool    // publishers: nothing is being republished
	Losses        uint64  // publishers: of the stream's
}

// child runs the process that the environment asks for, and returns its exit code.
func child() int {
	var cfg childConfig
	err := json.Unmarshal([]byte(os.Getenv(configVariable)), &cfg)
	if err == nil {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		commands := make(chan string)
		go func() {
			in := bufio.NewScanner(os.Stdin)
			for in.Scan() {
				commands <- in.Text()
			}
			// The driver is gone, however it went.
			fmt.Fprintln(os.Stderr, "the driver is gone")
			os.Exit(3)
		}()
		switch role := os.Getenv(roleVariable); role {
		case "server":
			err = runServer(cfg, log, commands)
		case "publisher":
			err = runPublisher(cfg, log, commands)
		case "verifier":
			err = runVerifier(cfg, log, commands)
		default:
			err = fmt.Errorf("no role %q", role)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var stdout sync.Mutex

func tell(r report) {
	stdout.Lock()
	defer stdout.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(r) // the driver may be gone
}

func join(cfg childConfig, log *slog.Logger, member bus.Config) (*bus.Member, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// Each server is reached through a proxy of the driver, and no other way.
	member.Servers, member.Name, member.Logger = cfg.Servers, cfg.Name, log
	member.Options = []nats.Option{nats.IgnoreDiscoveredServers(), as(cfg.User)}
	return bus.Join(ctx, member)
}
