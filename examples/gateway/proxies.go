package main

import (
	"context"
	_ "embed"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

var (
	//go:embed nginx.conf
	nginxConf string
	//go:embed Caddyfile
	caddyfile string
)

// missing says what this machine lacks.
type missing string

func (m missing) Error() string { return string(m) }

// tools finds nginx and caddy by look, which is exec.LookPath.
func tools(look func(string) (string, error)) (nginx, caddy string, err error) {
	found := map[string]string{}
	for _, name := range []string{"nginx", "caddy"} {
		for _, at := range []string{name, "/usr/sbin/" + name} {
			if path, err := look(at); err == nil {
				found[name] = path
				break
			}
		}
		if found[name] == "" {
			return "", "", missing("there is no " + name + ": it needs nginx and caddy (apt-get install " + name + ")")
		}
	}
	return found["nginx"], found["caddy"], nil
}

// startProxy starts nginx or caddy with that configuration, at a socket in dir, and returns a client
// that reaches it there.
func (w *world) startProxy(ctx context.Context, name, program, conf, check string) (*http.Client, error) {
	conf = strings.NewReplacer("DIR", w.dir, "CHECK", check, "UPSTREAM", w.upstream).Replace(conf)
	file := filepath.Join(w.dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-p", w.dir, "-c", file)
	if name == "caddy" {
		cmd = exec.CommandContext(ctx, program, "run", "--adapter", "caddyfile", "--config", file)
	}
	cmd.Env = append(os.Environ(), "HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir, "XDG_DATA_HOME="+w.dir)
	cmd.Stderr = &w.stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.open = append(w.open, func() {
		cmd.Process.Signal(os.Interrupt)
		giveUp := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer giveUp.Stop()
		cmd.Wait()
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(w.dir, name+".sock"))
	}}
	w.open = append(w.open, transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, nil
}
