package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// tools finds what this example needs beside Go. npm installs what a folder's lock file names.
func tools(ctx context.Context) (node string, npm func(context.Context, string) error, python string, err error) {
	node, err = exec.LookPath("node")
	if err != nil {
		return "", nil, "", missing("there is no node: it needs Node 20 or later (https://nodejs.org, or apt-get install nodejs npm)")
	}
	version, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return "", nil, "", missing("node --version fails: " + err.Error())
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(version)), "v"), ".")
	if n, _ := strconv.Atoi(major); n < 20 {
		return "", nil, "", missing(fmt.Sprintf("node is %s: it needs Node 20 or later", bytes.TrimSpace(version)))
	}
	npmFile, err := exec.LookPath("npm")
	if err != nil {
		return "", nil, "", missing("there is no npm, which comes with Node or as apt-get install npm")
	}
	npm = func(ctx context.Context, dir string) error {
		cmd := exec.CommandContext(ctx, npmFile, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return missing(fmt.Sprintf("npm ci cannot install the packages (%v):\n%s", err, out))
		}
		return nil
	}
	for _, name := range []string{"python3", "/usr/bin/python3"} { // Debian's packages are of the second
		if file, err := exec.LookPath(name); err == nil && exec.CommandContext(ctx, file, "-c", "import cryptography, jwt").Run() == nil {
			return node, npm, file, nil
		}
	}
	return "", nil, "", missing("there is no Python 3 with PyJWT and cryptography (apt-get install python3-jwt, or pip install 'PyJWT[crypto]')")
}

// runVectors has the Node program read the vectors of bus/WIRE.md, and counts them.
func runVectors(ctx context.Context, out io.Writer, node, dir, vectors string) error {
	cmd := exec.CommandContext(ctx, node, "vectors.mjs", vectors)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	text, err := cmd.Output()
	var counted struct{ Events, Digests, Failed int }
	if jsonErr := json.Unmarshal(text, &counted); err != nil || jsonErr != nil || counted.Failed != 0 || counted.Events == 0 || counted.Digests == 0 {
		return fmt.Errorf("the vectors of bus/WIRE.md do not pass in Node: %v\n%s%s", err, text, &errs)
	}
	fmt.Fprintf(out, "Node passes all vectors of bus/WIRE.md: %d events, %d digests\n", counted.Events, counted.Digests)
	return nil
}
