package forge

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/revoke"
)

func LocalList(t testing.TB, cfg revoke.Config) *revoke.List {
	t.Helper()
	cfg.Local = true
	return NewList(t, cfg)
}

func NewList(t testing.TB, cfg revoke.Config) *revoke.List {
	t.Helper()
	list, err := revoke.NewList(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func Apply(t testing.TB, list *revoke.List, e revoke.Event) {
	t.Helper()
	if err := list.Apply(revoke.Now(), e); err != nil {
		t.Fatal(err)
	}
}
