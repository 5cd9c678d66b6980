package stream

import (
	"testing"
	"time"
)

func TestStreamConfigRefused(t *testing.T) {
	for _, cfg := range []Settings{
		{Name: "a.b"}, {Name: "a b"}, {Name: "a*"},
		{Replicas: -1}, {Replicas: 6},
		{MaxBytes: -1}, {MaxBytes: minMaxBytes - 1},
	} {
		if _, err := cfg.Resolve(); err == nil {
			t.Errorf("%+v accepted", cfg)
		}
	}
	for _, d := range []time.Duration{-1, time.Millisecond, time.Hour + 1, 20 * 366 * 24 * time.Hour} {
		cfg := Settings{}
		cfg.Retention.TokenLifetime = d
		if _, err := cfg.Resolve(); err == nil {
			t.Errorf("TokenLifetime %s accepted", d)
		}
	}
}
