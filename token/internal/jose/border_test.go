package jose_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../../.."

// Nobody but this package imports jwx.
func TestOnlyImporterOfJWX(t *testing.T) {
	var importers []string
	files := 0
	for _, dir := range []string{"token", "revoke", "bus", "refresh", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return nil // a folder that is not there yet imports nothing
			}
			files++
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, i := range f.Imports {
				if p, _ := strconv.Unquote(i.Path.Value); strings.Contains(p, "lestrrat-go") {
					importers = append(importers, filepath.ToSlash(filepath.Dir(path)))
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Compact(importers); len(got) != 1 || got[0] != root+"/token/internal/jose" {
		t.Errorf("importers of jwx among %d files: %q", files, got)
	}
}

// Package token is used without NATS.
func TestTokenWithoutNATS(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../..").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "lestrrat-go/jwx") || strings.Contains(string(out), "nats") {
		t.Errorf("dependencies of package token:\n%s", out)
	}
}
