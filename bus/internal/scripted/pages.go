package scripted

import (
	"log/slog"
	"strings"
	"sync"
)

// A Pages is what on-call reads: lines at Warn and above.
type Pages struct {
	mu   sync.Mutex
	text strings.Builder
}

func (p *Pages) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *Pages) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func (p *Pages) Count(words string) int { return strings.Count(p.String(), words) }

func (p *Pages) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(p, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// Everything has lines at Info there too.
func (p *Pages) Everything() *slog.Logger { return slog.New(slog.NewTextHandler(p, nil)) }

func (p *Pages) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Reset()
}
