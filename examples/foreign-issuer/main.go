// A service that accepts the tokens of an OpenID provider that is not ours, revoked by us.
//
//	go run ./examples/foreign-issuer          # until interrupted, to try things with curl
//	go run ./examples/foreign-issuer -once    # plays everything through, and ends
//
// It needs Node 20 or later with npm, for the provider. The exit code is 0 only if everything went
// as it says, and 2 where one of these is missing.
//
// service.go is the service and what revokes, browser.go a user's browser at the provider.
package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed provider/provider.mjs provider/package.json provider/package-lock.json
var program embed.FS

func main() {
	cfg := config{patience: 60 * time.Second}
	flag.BoolVar(&cfg.once, "once", false, "end when everything was played through")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, cfg)
	stop()
	if _, ok := errors.AsType[missing](err); ok {
		fmt.Fprintln(os.Stderr, "foreign-issuer:", err)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "foreign-issuer:", err)
		os.Exit(1)
	}
}

type config struct {
	once     bool
	patience time.Duration // how long an answer may take to become the expected one

	edit func(text []byte) []byte // lets a test change the provider
}

// missing says what this machine lacks.
type missing string

func (m missing) Error() string { return string(m) }

func run(ctx context.Context, out io.Writer, cfg config) error {
	node, npm, err := tools(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "foreign-issuer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"provider.mjs", "package.json", "package-lock.json"} {
		text, err := program.ReadFile("provider/" + name)
		if err != nil {
			return err
		}
		if name == "provider.mjs" && cfg.edit != nil {
			text = cfg.edit(text)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "npm ci: oidc-provider and what it needs, from package-lock.json")
	if err := npm(ctx, dir); err != nil {
		return err
	}
	w := new(world)
	defer w.close()
	if err := w.start(ctx, node, dir); err != nil {
		return fmt.Errorf("%w\nthe provider says:\n%s", err, w.stderr.String())
	}
	t := &trial{world: w, out: out, patience: cfg.patience}
	if err := t.play(ctx, !cfg.once); err != nil {
		return fmt.Errorf("%w\nthe provider says:\n%s", err, w.stderr.String())
	}
	return nil
}

// tools finds what this example needs beside Go. npm installs what a folder's lock file names.
func tools(ctx context.Context) (node string, npm func(context.Context, string) error, err error) {
	node, err = exec.LookPath("node")
	if err != nil {
		return "", nil, missing("there is no node: it needs Node 20 or later (https://nodejs.org, or apt-get install nodejs npm)")
	}
	version, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return "", nil, missing("node --version fails: " + err.Error())
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
	if n, _ := strconv.Atoi(major); n < 20 {
		return "", nil, missing(fmt.Sprintf("node is %s: it needs Node 20 or later", bytes.TrimSpace(version)))
	}
	npmFile, err := exec.LookPath("npm")
	if err != nil {
		return "", nil, missing("there is no npm, which comes with Node or as apt-get install npm")
	}
	return node, func(ctx context.Context, dir string) error {
		cmd := exec.CommandContext(ctx, npmFile, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return missing(fmt.Sprintf("npm ci cannot install the packages (%v):\n%s", err, out))
		}
		return nil
	}, nil
}
