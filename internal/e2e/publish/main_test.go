package publish_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/e2e/rig"
)

func TestMain(m *testing.M) { rig.Main(m, map[string]func(){authorEnv: author, serverEnv: aServer}) }
