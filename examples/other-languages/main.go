// Programs in other languages beside a Go service, on one log of revocations.
//
//	go run ./examples/other-languages          # until interrupted, to try things with curl
//	go run ./examples/other-languages -once    # plays everything through, and ends
//
// It needs Node 20 or later with npm, and Python 3 with PyJWT and cryptography. The exit code is 0
// only if everything went as it says, and 2 where one of these is missing.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

//go:embed node/*.mjs node/package.json node/package-lock.json python/*.py
var programs embed.FS

func main() {
	cfg := config{patience: 30 * time.Second}
	flag.BoolVar(&cfg.once, "once", false, "end when everything was played through")
	flag.StringVar(&cfg.vectors, "vectors", "", "the directory of the vectors; by default bus/testdata/wire of the clone that holds the working directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, cfg)
	stop()
	if _, ok := errors.AsType[missing](err); ok {
		fmt.Fprintln(os.Stderr, "other-languages:", err)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "other-languages:", err)
		os.Exit(1)
	}
}

type config struct {
	once     bool
	vectors  string
	patience time.Duration // how long an answer may take to become the expected one

	// edit lets a test break a program, to see that the trial notices.
	edit func(name string, text []byte) []byte
}

// missing says what this machine lacks.
type missing string

func (m missing) Error() string { return string(m) }

func run(ctx context.Context, out io.Writer, cfg config) (err error) {
	node, npm, python, err := tools(ctx)
	if err != nil {
		return err
	}
	if cfg.vectors == "" {
		if cfg.vectors, err = findVectors(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "other-languages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := unpack(dir, cfg.edit); err != nil {
		return err
	}
	fmt.Fprintln(out, "npm ci: two packages and what they need, from package-lock.json")
	if err := npm(ctx, filepath.Join(dir, "node")); err != nil {
		return err
	}
	if err := runVectors(ctx, out, node, filepath.Join(dir, "node"), cfg.vectors); err != nil {
		return err
	}
	w := &world{dir: dir, node: node, python: python}
	defer w.close()
	if err := w.start(ctx, out); err != nil {
		return err
	}
	t := &trial{world: w, out: out, patience: cfg.patience}
	if err := t.play(ctx); err != nil {
		return fmt.Errorf("%w\nthe programs say:\n%s", err, w.stderr.String())
	}
	if cfg.once {
		return nil
	}
	return t.stay(ctx)
}

// unpack writes the programs in other languages into dir.
func unpack(dir string, edit func(string, []byte) []byte) error {
	return fs.WalkDir(programs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := programs.ReadFile(name)
		if err != nil {
			return err
		}
		if edit != nil {
			text = edit(name, text)
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		return os.WriteFile(file, text, 0o600)
	})
}

// findVectors looks for the clone that holds the working directory.
func findVectors() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		dir := filepath.Join(at, "bus", "testdata", "wire")
		if _, err := os.Stat(filepath.Join(dir, "events.json")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(at)
		if parent == at {
			return "", missing("there is no bus/testdata/wire here or above: run it in a clone, or name the directory with -vectors")
		}
		at = parent
	}
}
