package storetest_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/refresh"
	"github.com/hybridtoken/hybridtoken/refresh/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) refresh.Store { return refresh.NewMemoryStore() }, storetest.Config{Virtual: true})
}
