package rig

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerVariable names a nats-server, as a file to run, that brokers run in place of the
// server that is linked into this test; and its version. See TestServers.
const (
	ServerVariable  = "HYBRIDTOKEN_NATS_SERVER"
	VersionVariable = "HYBRIDTOKEN_NATS_SERVER_VERSION"
)

var outside = os.Getenv(ServerVariable)

// A process is a nats-server that runs beside this test.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	log    string
	config string
}

// startOutside starts the other server with the options that o holds.
func (b *Broker) startOutside(o *server.Options) {
	b.t.Helper()
	if o.Port == server.RANDOM_PORT { // the server would choose another at its next start
		l, err := net.Listen("tcp", net.JoinHostPort(o.Host, "0"))
		if err != nil {
			b.t.Fatal(err)
		}
		o.Port = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	dir := b.t.TempDir()
	p := &process{log: filepath.Join(dir, "log"), config: filepath.Join(dir, "nats.conf"), exited: make(chan struct{})}
	if err := os.WriteFile(p.config, b.configOf(o, p.log), 0o600); err != nil {
		b.t.Fatal(err)
	}
	var complaint bytes.Buffer // before there is a log
	p.cmd = exec.Command(outside, "-c", p.config)
	p.cmd.Stderr = &complaint
	p.cmd.Env = os.Environ()
	for _, user := range exampleUsers {
		p.cmd.Env = append(p.cmd.Env, strings.ToUpper(user)+"_PASSWORD="+user)
	}
	if err := p.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	b.proc, b.port = p, o.Port
	for end := time.Now().Add(Deadline); ; {
		version, err := greeting(b.port)
		switch {
		case err == nil:
			if want := os.Getenv(VersionVariable); version != want {
				b.t.Fatalf("%s is nats-server %q, not %q", outside, version, want)
			}
			b.Version = version
			return
		case time.Now().After(end):
			b.Stop()
			b.t.Fatalf("server not ready: %v", err)
		}
		select {
		case <-p.exited:
			log, _ := os.ReadFile(p.log)
			b.proc = nil
			b.t.Fatalf("server ended: %s\n%s%s", p.cmd.ProcessState, complaint.String(), log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// reloadOutside has the server read o, as its new configuration.
func (b *Broker) reloadOutside(o *server.Options) {
	b.t.Helper()
	reloads := func() int {
		log, err := os.ReadFile(b.proc.log)
		if err != nil {
			b.t.Fatal(err)
		}
		return bytes.Count(log, []byte("Reloaded server configuration"))
	}
	before := reloads()
	o.Port = b.port
	if err := os.WriteFile(b.proc.config, b.configOf(o, b.proc.log), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := b.proc.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		b.t.Fatal(err)
	}
	Eventually(b.t, "the configuration is reloaded", func() bool { return reloads() > before })
}

// greeting returns the version that the server there names first of all.
func greeting(port int) (string, error) {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	line, err := bufio.NewReaderSize(conn, 64<<10).ReadString('\n')
	if err != nil {
		return "", err
	}
	var info struct{ Version string }
	err = json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info)
	return info.Version, err
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.exited:
	case <-time.After(Deadline):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// configOf writes o as a configuration file, and fails for what it does not know how to.
func (b *Broker) configOf(o *server.Options, log string) []byte {
	b.t.Helper()
	c := map[string]any{"server_name": o.ServerName, "listen": fmt.Sprintf("%s:%d", o.Host, o.Port), "log_file": log}
	if o.JetStream {
		js := map[string]any{"store_dir": o.StoreDir}
		if o.SyncAlways {
			js["sync_interval"] = "always"
		}
		c["jetstream"] = js
	}
	if o.MaxPayload != 0 {
		c["max_payload"] = o.MaxPayload
	}
	if b.include == "" && len(o.Users) > 0 {
		c["authorization"] = map[string]any{"users": usersOf(o.Users)}
	}
	rest := *o
	rest.ServerName, rest.Host, rest.Port, rest.StoreDir, rest.JetStream, rest.SyncAlways = "", "", 0, "", false, false
	rest.NoSigs, rest.NoLog, rest.MaxPayload, rest.Users = false, false, 0, nil
	if b.include != "" {
		rest.Accounts = nil
	}
	for _, f := range reflect.VisibleFields(reflect.TypeOf(rest)) {
		if f.IsExported() && !reflect.ValueOf(rest).FieldByIndex(f.Index).IsZero() {
			b.t.Fatalf("this test sets the option %s, which a server of another version is not given", f.Name)
		}
	}
	// The configuration is JSON but for the outermost braces.
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // the server reads no \u003e
	for name, value := range c {
		fmt.Fprintf(&text, "%q: ", name)
		if err := e.Encode(value); err != nil {
			b.t.Fatal(err)
		}
	}
	if b.include != "" {
		data, err := os.ReadFile(b.include)
		if err != nil {
			b.t.Fatal(err)
		}
		text.Write(data) // not by name: the server takes that as relative to its own file
	}
	return []byte(text.String())
}

func usersOf(list []*server.User) (users []map[string]any) {
	side := func(p *server.SubjectPermission) map[string]any {
		m := map[string]any{}
		if p != nil && p.Allow != nil {
			m["allow"] = p.Allow
		}
		if p != nil && p.Deny != nil {
			m["deny"] = p.Deny
		}
		return m
	}
	for _, u := range list {
		m := map[string]any{"user": u.Username, "password": u.Password}
		if p := u.Permissions; p != nil {
			rights := map[string]any{"publish": side(p.Publish), "subscribe": side(p.Subscribe)}
			if r := p.Response; r != nil {
				rights["allow_responses"] = map[string]any{"max": r.MaxMsgs, "expires": r.Expires.String()}
			}
			m["permissions"] = rights
		}
		users = append(users, m)
	}
	return users
}
