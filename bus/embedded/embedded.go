package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hybridtoken/hybridtoken/bus"
	"github.com/hybridtoken/hybridtoken/internal/diskfile"
	"github.com/hybridtoken/hybridtoken/revoke"
)

// Config configures [Start].
type Config struct {
	// Dir keeps the stream, synced to disk with every event. It belongs to one server
	// at a time. One that is not there is made, with mode 0700; one in which others can
	// write, who could take out revocations, is refused (but not on Windows). Empty means memory: when this
	// process ends, services that restart let in again everybody who was revoked. That suits tests and demonstrations.
	Dir string

	// Listen is a loopback address with a port for TCP connections, such as
	// "127.0.0.1:4222" or "127.0.0.1:0" for any free port. Any user of this machine
	// can connect there, revoke, and delete the stream. Empty means none:
	// connections are made in process, see [Server.InProcessConn].
	Listen string

	// Stream is the stream's name. Empty means [bus.DefaultStream].
	Stream string

	// MaxBytes bounds the stream's size, at 500 bytes a live revocation. Zero means
	// 256 MiB on disk and 64 MiB in memory.
	MaxBytes int64

	// Retention is fixed when the stream is first made. Zero lifetimes mean one hour
	// and 90 days.
	Retention revoke.Retention

	// Logger receives the server's warnings and errors. Nil means silent.
	Logger *slog.Logger
}

// A Server is a NATS server in this process. It is safe for concurrent use.
type Server struct {
	srv  *server.Server
	lock *diskfile.Lock
	temp string // directory to remove, if any

	closing sync.Once
}

// Start starts a server and creates the stream, or finds it as it was left. The
// caller closes the Server. A stream that exists with other settings is an error
// ([bus.ErrStreamExists]). ctx bounds starting; without a deadline it takes at most
// 30 s. A port that is taken is an error at once.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
	}
	s, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, cfg Config) (_ *Server, err error) {
	opts := &server.Options{
		ServerName: "hybridtoken-embedded",
		DontListen: true,
		JetStream:  true,
		NoSigs:     true, // signals belong to the program
		NoLog:      true,
	}
	if cfg.Listen != "" {
		if opts.Host, opts.Port, err = loopback(cfg.Listen); err != nil {
			return nil, fmt.Errorf("field Listen: %w", err)
		}
		opts.DontListen = false
	}
	s := &Server{}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if cfg.Dir == "" {
		if cfg.Logger != nil {
			cfg.Logger.Warn("embedded: revocations are kept in memory; they end with this process")
		}
		if s.temp, err = os.MkdirTemp("", "hybridtoken-bus-"); err != nil {
			return nil, err
		}
		opts.StoreDir = s.temp
	} else {
		if err = os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, err
		}
		if err = checkDir(cfg.Dir); err != nil {
			return nil, fmt.Errorf("field Dir: %w", err)
		}
		if s.lock, err = lockDir(cfg.Dir); err != nil {
			return nil, err
		}
		opts.StoreDir = cfg.Dir
		opts.SyncAlways = true
	}
	if s.srv, err = server.NewServer(opts); err != nil {
		return nil, err
	}
	log := &serverLog{log: cfg.Logger, fatal: make(chan string, 1)}
	if log.log == nil {
		log.log = slog.New(slog.DiscardHandler)
	}
	s.srv.SetLoggerV2(log, false, false, false)
	s.srv.Start()
	for !s.srv.ReadyForConnections(100 * time.Millisecond) {
		select {
		case why := <-log.fatal: // it says why, and goes on waiting
			return nil, fmt.Errorf("server did not start: %s", why)
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("server not ready: %w", err)
		}
		if !s.srv.Running() {
			return nil, errors.New("server did not start")
		}
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.Name("embedded"))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	maxBytes := cfg.MaxBytes
	if maxBytes == 0 {
		maxBytes = 256 << 20
		if cfg.Dir == "" {
			maxBytes = 64 << 20
		}
	}
	err = bus.CreateStream(ctx, nc, bus.StreamConfig{
		Name:           cfg.Stream,
		Replicas:       1,
		MaxBytes:       maxBytes,
		InsecureMemory: cfg.Dir == "",
		Retention:      cfg.Retention,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// InProcessConn makes a connection without a socket: a Server can be a
// [bus.Config].InProcess, or the argument of [nats.InProcessServer].
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// URL returns the address for TCP connections, or "" if the server does not listen.
func (s *Server) URL() string {
	if s.srv.Addr() == nil {
		return ""
	}
	return "nats://" + s.srv.Addr().String()
}

// Close stops the server and waits until it has. What was acknowledged is on disk,
// if there is a Dir. It may be called more than once.
func (s *Server) Close() error {
	var err error
	s.closing.Do(func() {
		if s.srv != nil {
			s.srv.Shutdown()
			s.srv.WaitForShutdown()
		}
		if s.temp != "" {
			err = os.RemoveAll(s.temp)
		}
		if s.lock != nil {
			s.lock.Unlock()
		}
	})
	return err
}

func loopback(address string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("%q is not a loopback address; the embedded server has no authentication", host)
	}
	if port, err = strconv.Atoi(p); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", p)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// serverLog hands the server's messages to slog, and keeps the first fatal one.
type serverLog struct {
	log   *slog.Logger
	fatal chan string
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Warnf(format string, v ...any) { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("nats: " + fmt.Sprintf(format, v...))
}
func (l *serverLog) Debugf(format string, v ...any) {}
func (l *serverLog) Tracef(format string, v ...any) {}
func (l *serverLog) Fatalf(format string, v ...any) {
	why := fmt.Sprintf(format, v...)
	l.log.Error("nats: " + why)
	select {
	case l.fatal <- why:
	default:
	}
}
