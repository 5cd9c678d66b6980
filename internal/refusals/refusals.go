// Package refusals keeps the log of what is refused readable: who looks at a service that
// refuses every token finds the cause there, and a flood of bad tokens fills no disk.
package refusals

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Log writes one line a minute for each cause, with how many it stands for. The zero
// Log is ready. Its methods may be called concurrently.
type Log struct {
	idle atomic.Bool // nothing was accepted since a minute with a refusal began

	mu     sync.Mutex
	minute int64 // of the last refusal
	quiet  bool  // nothing was accepted in the minute with a refusal before it
	lines  map[string]*line
}

type line struct {
	minute   int64 // when it was last written
	heldBack int64 // since
}

// maxLines bounds the memory of a Log. Beyond it what one cause says in many ways is one
// line, so that anyone who finds ever new ways hides nothing else.
const maxLines = 64

// Accepted takes note that something was accepted. It costs a look at one word.
func (l *Log) Accepted() {
	if l.idle.Load() {
		l.idle.Store(false)
	}
}

// Refused logs, if it is time, that what was refused for cause, which is one of a few,
// with detail, an error that holds nothing a stranger chose. What happens every day, such as
// an expired token, is logged only where nothing has been accepted for a minute or more.
func (l *Log) Refused(ctx context.Context, logger *slog.Logger, now time.Time, what, cause string, detail error, args ...any) {
	about, known := causes[cause]
	if !known || about.level < slog.LevelInfo {
		return
	}
	heldBack, ok := l.allow(cause, detail.Error(), about.everyday, now)
	if !ok {
		return
	}
	args = append(args, "cause", cause, "error", detail, "unreported", heldBack)
	if about.advice != "" {
		args = append(args, "advice", about.advice)
	}
	logger.Log(ctx, about.level, what, args...)
}

func (l *Log) allow(cause, detail string, everyday bool, now time.Time) (heldBack int64, ok bool) {
	minute := now.Unix() / 60
	l.mu.Lock()
	defer l.mu.Unlock()
	if minute != l.minute {
		l.minute, l.quiet = minute, l.idle.Swap(true)
	}
	if l.lines == nil {
		l.lines = make(map[string]*line)
	}
	key := cause + "\x00" + detail
	n := l.lines[key]
	if n == nil && len(l.lines) >= maxLines {
		key = cause
		n = l.lines[key]
	}
	if n == nil {
		n = &line{minute: -1}
		l.lines[key] = n
	}
	if n.minute == minute || everyday && !l.quiet {
		n.heldBack++
		return 0, false
	}
	heldBack, n.heldBack, n.minute = n.heldBack, 0, minute
	return heldBack, true
}

// causes are the names of [token.Cause], and those of package token's Middleware.
//
// What only a token that the issuer has signed can show is a warning. What anybody can send
// is none, and logged all the same: an issuer that writes it, or a verifier that is
// configured wrongly, refuses everybody for it.
var causes = map[string]struct {
	level    slog.Level
	everyday bool
	advice   string
}{
	"too_large":      {slog.LevelInfo, false, "raise MaxTokenBytes of the VerifierConfig, or have the issuer write less into its tokens"},
	"malformed":      {slog.LevelInfo, false, "the tokens are no signed JWTs: does the client send an opaque token, an ID of a session, or an encrypted one?"},
	"algorithm":      {slog.LevelInfo, false, "does VerifierConfig.Algorithms name what the issuer signs with?"},
	"type":           {slog.LevelInfo, false, "Profile.Types says which typ the issuer's access tokens have; does the client send an ID token?"},
	"unknown_key":    {slog.LevelInfo, false, "is VerifierConfig.Keys the set of this issuer, and does it publish the key that it signs with?"},
	"signature":      {slog.LevelInfo, false, "is VerifierConfig.Keys the set of this issuer?"},
	"claims":         {slog.LevelWarn, false, "a Profile says where an issuer's tokens differ from RFC 9068"},
	"issuer":         {slog.LevelWarn, false, "is VerifierConfig.Issuer what the tokens say, to the last slash?"},
	"audience":       {slog.LevelWarn, false, "is VerifierConfig.Audiences what the tokens say?"},
	"lifetime":       {slog.LevelWarn, false, "raise TokenLifetime of the denylist and its stream, or have the issuer write shorter ones"},
	"not_yet_valid":  {slog.LevelWarn, false, "the clocks of the issuer and this machine differ by more than MaxSkew or Leeway: set them"},
	"expired":        {slog.LevelInfo, true, "is this machine's clock right?"},
	"revoked":        {slog.LevelInfo, true, ""},
	"binding":        {slog.LevelInfo, false, "the tokens are bound to a key: VerifierConfig.DPoP and ClientCertificate say how senders prove that they hold it"},
	"proof":          {slog.LevelInfo, false, "is DPoPConfig.BaseURL, or URL, the one that clients use?"},
	"replayed":       {slog.LevelWarn, false, "a DPoP proof was used twice: somebody else may have seen it"},
	"nonce":          {slog.LevelDebug, false, ""}, // as a client's first request
	"scope":          {slog.LevelInfo, true, "Profile.ScopeClaim names the claim with the scope if it is another, or an array"},
	"authentication": {slog.LevelInfo, true, "the tokens' auth_time or acr is not what RequireFresh or RequireACR asks for"},
	"request":        {slog.LevelInfo, false, "the token is to come alone, in one Authorization header"},
	"misspelt":       {slog.LevelError, false, "Interceptor.Check names all such methods"},
	"not_the_proxy":  {slog.LevelInfo, false, "ForwardAuthConfig.FromProxy says from where the proxy asks"},
	"proxy":          {slog.LevelWarn, false, "docs/forward-auth.md has the proxy's configuration"},
	"scheme":         {slog.LevelInfo, true, "the token is to come under the scheme Bearer or, where VerifierConfig.DPoP is set, DPoP"},
}
