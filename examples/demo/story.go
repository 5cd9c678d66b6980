package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A story is what has happened, in words.
type story struct {
	mu    sync.Mutex
	lines []line
	n     int
	said  *said
}

// A line is one thing that happened.
type line struct {
	N    int    `json:"n"`
	At   string `json:"at"`
	Text string `json:"text"`
}

// said is what the page explains after a click.
type said struct {
	N     int    `json:"n"`
	Title string `json:"title"`
	What  string `json:"what"`
	Why   string `json:"why"`
	Docs  string `json:"docs"`
}

const linesKept = 60

func (s *story) say(format string, a ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.lines = append(s.lines, line{s.n, time.Now().Format("15:04:05"), fmt.Sprintf(format, a...)})
	if len(s.lines) > linesKept {
		s.lines = slices.Delete(s.lines, 0, len(s.lines)-linesKept)
	}
}

func (s *story) explain(e said) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	e.N, s.said = s.n, &e
}

func (s *story) told() ([]line, *said) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines), s.said
}

// inWords is a number of milliseconds as people read it.
func inWords(ms float64) string {
	if ms < 1000 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}
