package rollcall

import (
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// Each field is taken up to its limit and refused beyond it, by name.
func TestConfigIsLookedAt(t *testing.T) {
	for _, c := range []struct {
		cfg     Config
		refused string // empty: not
	}{
		{Config{Replicas: 10_000}, ""}, {Config{Replicas: -1}, "Replicas is -1"}, {Config{Replicas: 10_001}, "Replicas is 10001"},
		{Config{RollCall: time.Minute}, ""}, {Config{RollCall: -1}, "RollCall is -1ns"}, {Config{RollCall: time.Minute + 1}, "RollCall is 1m"},
		{Config{MaxStaleness: revoke.MaxLifetime}, ""}, {Config{MaxStaleness: -1}, "MaxStaleness is -1ns"}, {Config{MaxStaleness: revoke.MaxLifetime + 1}, "ten years"},
	} {
		if _, err := c.cfg.withDefaults(); (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
	if c, err := (Config{}).withDefaults(); err != nil || c.Replicas != 0 || c.RollCall != 250*time.Millisecond || c.MaxStaleness != 15*time.Second {
		t.Errorf("defaults %+v, %v", c, err)
	}
}
