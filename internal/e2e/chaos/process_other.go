//go:build !unix

package main

import (
	"errors"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func freeze(*exec.Cmd) error   { return errors.ErrUnsupported }
func thaw(*exec.Cmd) error     { return errors.ErrUnsupported }
func kill(cmd *exec.Cmd) error { return cmd.Process.Kill() }
