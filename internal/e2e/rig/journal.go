package rig

import (
	"log/slog"
	"strings"
	"sync"
)

// A Journal is a logger that remembers.
type Journal struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (j *Journal) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "")
}

func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(p))
	return len(p), nil
}

// Count returns how many lines contain all of the words.
func (j *Journal) Count(words ...string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
next:
	for _, line := range j.lines {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		n++
	}
	return n
}
