package stream

import (
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridtoken/hybridtoken/bus/internal/wire"
	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// DefaultName is the name of the stream where none is configured.
const DefaultName = "REVOCATIONS"

const (
	defaultMaxBytes = 1 << 30
	// minMaxBytes leaves heartbeats room in the 3 % of the stream that no event may
	// use, 480 KiB: a quarter of an hour of one heartbeat a second, at 300 bytes and twice
	// as much when several members beat.
	minMaxBytes = 16 << 20
)

// Settings are what CreateStream is configured with, see bus.StreamConfig.
type Settings struct {
	Name           string
	Replicas       int
	MaxBytes       int64
	InsecureMemory bool
	Retention      revoke.Retention
}

// Resolve returns the configuration of the stream to make.
func (cfg Settings) Resolve() (jetstream.StreamConfig, error) {
	var zero jetstream.StreamConfig
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	if err := jsadmin.CheckName(cfg.Name); err != nil {
		return zero, fmt.Errorf("field Name: %w", err)
	}
	c, err := jsadmin.Config{Replicas: cfg.Replicas, MaxBytes: cfg.MaxBytes, InMemory: cfg.InsecureMemory}.Stream(cfg.Name, defaultMaxBytes, minMaxBytes)
	if err != nil {
		return zero, err
	}
	h, def := cfg.Retention, revoke.DefaultRetention()
	if h.TokenLifetime == 0 {
		h.TokenLifetime = def.TokenLifetime
	}
	if h.SessionLifetime == 0 {
		h.SessionLifetime = def.SessionLifetime
	}
	if h.MaxSkew == 0 {
		h.MaxSkew = def.MaxSkew
	}
	if h.MaxSkew < time.Millisecond || h.MaxSkew > revoke.MaxSkewLimit || h.MaxSkew%time.Millisecond != 0 {
		return zero, fmt.Errorf("field Retention.MaxSkew is %s; want whole milliseconds between 1ms and %s", h.MaxSkew, revoke.MaxSkewLimit)
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{{"TokenLifetime", h.TokenLifetime}, {"SessionLifetime", h.SessionLifetime}} {
		if f.d < time.Second || f.d > revoke.MaxLifetime || f.d%time.Millisecond != 0 {
			return zero, fmt.Errorf("field Retention.%s is %s; want whole milliseconds between 1s and ten years", f.name, f.d)
		}
	}
	c.Description = "revocations of access tokens; append-only"
	c.Subjects = []string{wire.StreamSubjects}
	c.MaxMsgSize = wire.MaxMessageBytes
	c.AllowDirect = true
	c.AllowAtomicPublish = true // a server before 2.12 does not know it, and leaves it out
	c.Duplicates = 2 * time.Minute
	c.Metadata = map[string]string{
		metaSchema:          schemaVersion,
		metaTokenLifetime:   strconv.FormatInt(h.TokenLifetime.Milliseconds(), 10),
		metaSessionLifetime: strconv.FormatInt(h.SessionLifetime.Milliseconds(), 10),
		metaMaxSkew:         strconv.FormatInt(h.MaxSkew.Milliseconds(), 10),
	}
	return c, nil
}
