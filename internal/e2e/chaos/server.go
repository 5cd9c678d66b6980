package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// runServer is one NATS server of the cluster.
func runServer(cfg childConfig, log *slog.Logger, commands <-chan string) error {
	o, err := server.ProcessConfigFile(cfg.Conf)
	if err != nil {
		return err
	}
	o.ServerName, o.Host, o.Port, o.StoreDir = cfg.Name, "127.0.0.1", cfg.Client, cfg.Dir
	o.JetStream, o.SyncAlways, o.NoSigs = true, true, true
	o.LameDuckDuration, o.LameDuckGracePeriod = 2*time.Second, time.Second
	o.Cluster = server.ClusterOpts{
		Name: "chaos", Host: "127.0.0.1", Port: cfg.Cluster,
		// Servers and clients know each other by the driver's proxies alone.
		NoAdvertise: true, Advertise: "127.0.0.1:1", PoolSize: -1,
	}
	for _, r := range cfg.Routes {
		u, err := url.Parse(r)
		if err != nil {
			return err
		}
		o.Routes = append(o.Routes, u)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return err
	}
	srv.SetLoggerV2(serverLog{log}, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		return errors.New("not ready")
	}
	tell(report{Ready: true})
	switch c := <-commands; c {
	case "stop":
		srv.Shutdown()
	case "lame":
		srv.LameDuckShutdown()
	default:
		return fmt.Errorf("no command %q", c)
	}
	srv.WaitForShutdown()
	return nil
}

// serverLog hands the server's messages to slog.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.log.Info(fmt.Sprintf(format, v...)) }
func (l serverLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any) {
	l.log.Error("fatal: " + fmt.Sprintf(format, v...))
}
func (l serverLog) Debugf(string, ...any) {}
func (l serverLog) Tracef(string, ...any) {}
