package natskv

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/internal/jsadmin"
)

// Each exported field of the config structs has rows of values that cannot be meant, which
// are refused with its name, or such as weaken, which are named; a new field needs some.
func TestConfigsAreLookedAt(t *testing.T) {
	nc := &nats.Conn{Opts: nats.Options{AllowReconnect: true, MaxReconnect: -1, IgnoreAuthErrorAbort: true, PingInterval: time.Second}}
	open := func(cfg Config) error {
		_, err := New(t.Context(), nc, cfg)
		return err
	}
	make := func(cfg BucketConfig) error {
		_, err := cfg.resolve()
		return err
	}
	long := strings.Repeat("b", 65)
	looked := map[string][]struct {
		err  error
		says string // empty: it is taken
	}{
		"Config.Bucket": {{open(Config{Bucket: "a b"}), "characters"}, {open(Config{Bucket: "a.b"}), "characters"}, {open(Config{Bucket: long}), "65"}},
		"Config.ClockSkew": {
			{open(Config{ClockSkew: -1}), "-1ns"}, {open(Config{ClockSkew: time.Second - 1}), "999"}, {open(Config{ClockSkew: 24*time.Hour + 1}), "24h0m0.000000001s"},
		},
		"BucketConfig.Bucket":         {{make(BucketConfig{Bucket: "a b"}), "characters"}, {make(BucketConfig{Bucket: "$"}), "characters"}, {make(BucketConfig{Bucket: long}), "65"}, {make(BucketConfig{Bucket: long[1:]}), ""}},
		"BucketConfig.Replicas":       {{make(BucketConfig{Replicas: -1}), "-1"}, {make(BucketConfig{Replicas: 6}), "6"}, {make(BucketConfig{Replicas: 1}), ""}, {make(BucketConfig{Replicas: 5}), ""}},
		"BucketConfig.MaxBytes":       {{make(BucketConfig{MaxBytes: -1}), "-1"}, {make(BucketConfig{MaxBytes: 1<<20 - 1}), "below"}, {make(BucketConfig{MaxBytes: 1 << 20}), ""}},
		"BucketConfig.InsecureMemory": {{make(BucketConfig{InsecureMemory: true}), ""}},
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[BucketConfig]()} {
		for _, f := range reflect.VisibleFields(typ) {
			if f.IsExported() && f.Name != "Logger" && looked[typ.Name()+"."+f.Name] == nil {
				t.Errorf("%s.%s has no rows", typ.Name(), f.Name)
			}
		}
	}
	for name, rows := range looked {
		_, field, _ := strings.Cut(name, ".")
		for i, r := range rows {
			if r.says == "" && r.err != nil || r.says != "" && (r.err == nil || !strings.Contains(r.err.Error(), r.says) || !strings.Contains(r.err.Error(), field)) {
				t.Errorf("%s, row %d: %v, want %q", name, i, r.err, r.says)
			}
		}
	}
	for want, cfg := range map[string]BucketConfig{"": {}, "kept in memory": {InsecureMemory: true}, "replicas: 1": {Replicas: 1}, "replicas: 2": {Replicas: 2}} {
		c, err := cfg.resolve()
		if err != nil {
			t.Fatal(err)
		}
		if list := strings.Join(jsadmin.Weaknesses(c), "; "); list != want {
			t.Errorf("%+v: %q, want %q", cfg, list, want)
		}
		if list := hazards(c, defaultBucket); len(list) != 0 {
			t.Errorf("%+v: %q", cfg, list)
		}
	}
	var log bytes.Buffer
	nc.Opts.PingInterval = time.Minute
	_ = open(Config{Logger: slog.New(slog.NewTextHandler(&log, nil)), ClockSkew: -1})
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "PingInterval") {
		t.Errorf("logged %s", &log)
	}
}
