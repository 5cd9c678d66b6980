package transport

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
)

// A Config says how to connect. Its fields are those of the same names of bus.Config.
type Config struct {
	Servers         string
	InProcess       nats.InProcessConnProvider
	CredentialsFile string
	TLS             *tls.Config
	InboxPrefix     string
	Options         []nats.Option
	Name            string
	Logger          *slog.Logger
}

// options returns the client library's for the next attempt.
func (cfg *Config) options(urls []string) (nats.Options, error) {
	opts := nats.GetDefaultOptions()
	opts.Servers = slices.Clone(urls)
	name := cfg.Name
	if name == "" {
		name = "hybridtoken"
	}
	set := []nats.Option{
		nats.Name(name),
		nats.Timeout(3 * time.Second),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, 2*time.Second),
		nats.PingInterval(2 * time.Second), // a dead peer is noticed within 6 s
		nats.MaxPingsOutstanding(2),
		nats.DrainTimeout(5 * time.Second),
	}
	if cfg.CredentialsFile != "" {
		credentials := nats.UserCredentials(cfg.CredentialsFile)
		set = append(set, func(o *nats.Options) error {
			if err := credentials(o); err != nil {
				return fmt.Errorf("field CredentialsFile: %w", err)
			}
			if _, err := o.SignatureCB(nil); err != nil { // the client library looks for the seed when a server asks
				return fmt.Errorf("field CredentialsFile: %w", err)
			}
			return nil
		})
	}
	if cfg.TLS != nil {
		set = append(set, nats.Secure(cfg.TLS.Clone()))
	}
	if cfg.InProcess != nil {
		set = append(set, nats.InProcessServer(cfg.InProcess))
	}
	if cfg.InboxPrefix != "" {
		for token := range strings.SplitSeq(cfg.InboxPrefix, ".") {
			if token == "" || strings.ContainsAny(token, "*>") || strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
				return opts, fmt.Errorf("InboxPrefix %q is no subject without wildcards", cfg.InboxPrefix)
			}
		}
		set = append(set, nats.CustomInboxPrefix(cfg.InboxPrefix))
	}
	set = append(set, cfg.Options...)
	set = append(set,
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(false), // before there is a connection the attempts are ours, see redial
		nats.IgnoreAuthErrorAbort(),      // a revoked and restored credential must not end reconnecting for ever
		nats.ReconnectBufSize(-1),        // a caller hears at once that nothing is sent
	)
	for _, o := range set {
		if o == nil {
			continue
		}
		if err := o(&opts); err != nil {
			return opts, err
		}
	}
	opts.AllowReconnect = true
	return opts, nil
}
