package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/gate"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

func need(t *testing.T) {
	t.Helper()
	if _, _, err := tools(exec.LookPath); err != nil {
		gate.Skip(t, err.Error())
	}
}

// TestGateway runs the command of README.md that ends by itself, from the top of the repository.
//
//blocks:run examples/gateway/README.md -
func TestGateway(t *testing.T) {
	need(t)
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile("(?m)^```\ngo run (\\./examples/gateway) -once +# ").FindSubmatch(text)
	if command == nil {
		t.Fatal("README.md does not begin with the command")
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", string(command[1]), "-once")
	cmd.Dir = "../.."
	var errs bytes.Buffer
	cmd.Stderr = &errs
	b, err := cmd.Output()
	out := string(b)
	if err != nil {
		t.Fatalf("%v, standard error %q\n%s", err, &errs, out)
	}
	if !regexp.MustCompile(`(?m)^  gateway  refuses after [\d.]+ ms\n  nginx    refuses after [\d.]+ ms\n  caddy    refuses after [\d.]+ ms\n  stream   ended after [\d.]+ ms\n\nall expectations held\n\z`).MatchString(out) ||
		strings.Contains(out, "eyJ") {
		t.Errorf("printed:\n%s", out)
	}
}

// What is missing is said in a sentence, with an exit code of its own.
func TestSaysWhatIsMissing(t *testing.T) {
	for lacking, says := range map[string]string{
		"nginx": "there is no nginx: it needs nginx and caddy (apt-get install nginx)",
		"caddy": "there is no caddy: it needs nginx and caddy (apt-get install caddy)",
		"":      "",
	} {
		_, _, err := tools(func(name string) (string, error) {
			if filepath.Base(name) == lacking {
				return "", exec.ErrNotFound
			}
			return name, nil
		})
		if lacking == "" && err != nil || lacking != "" && (err == nil || err.Error() != says || exitCode(err) != 2) {
			t.Errorf("without %q: %v", lacking, err)
		}
	}
	if exitCode(nil) != 0 || exitCode(errors.New("NOT AS EXPECTED")) != 1 {
		t.Error("other exit codes")
	}
}

// The twins: a proxy that does not ask, or passes on what the client sent, is noticed.
func TestNoticesABrokenProxy(t *testing.T) {
	need(t)
	for name, c := range map[string]struct{ proxy, from, to, says string }{
		"nginx asks nobody":                  {"nginx", "auth_request     /_auth;", "", "nginx lets the laptop through"},
		"nginx passes the user's token":      {"nginx", "proxy_set_header Authorization            $upstream_says;", "", "nginx lets the laptop through"},
		"nginx passes a client's name":       {"nginx", `proxy_set_header X-Auth-Subject           "";`, "", "a client's X-Auth-Subject"},
		"nginx passes cookies":               {"nginx", `proxy_set_header Cookie                   "";`, "", "a client's Cookie"},
		"caddy passes the user's token":      {"caddy", "copy_headers X-Upstream-Authorization>Authorization", "", "caddy lets the laptop through"},
		"caddy passes a client's name":       {"caddy", "request_header -X-Auth-Subject", "", "a client's X-Auth-Subject"},
		"caddy passes what is for upstreams": {"caddy", "request_header -X-Upstream-Authorization", "", "a client's X-Upstream-Authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := run(t.Context(), &out, config{once: true, patience: 20 * time.Second, edit: func(name, conf string) string {
				if name != c.proxy {
					return conf
				}
				if !strings.Contains(conf, c.from) {
					t.Errorf("%s lacks %q", name, c.from)
				}
				return strings.Replace(conf, c.from, c.to, 1)
			}})
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one with %q\n%s", err, c.says, out.String())
			}
		})
	}
}

// What the upstream believes: the gateway's token for it, fresh, and nothing else.
func TestUpstreamBelievesTheGatewayAlone(t *testing.T) {
	w := new(world)
	defer w.close()
	if err := w.start(t.Context(), "true", "true", nil); err != nil { // programs that end at once stand for the proxies
		t.Fatal(err)
	}
	direct := entry{"upstream", "http://" + w.upstream, w.entries[0].client}
	tr := &trial{world: w, patience: 30 * time.Second}
	user, err := tr.login(t.Context(), "alice", "s")
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.until(t.Context(), "the gateway is up", func(ctx context.Context) error { return w.entries[0].get(ctx, user, 200, "hello alice") }); err != nil {
		t.Fatal(err)
	}
	vouched := func(upstream string) string {
		issued, err := w.gateway.issuer.Issue(t.Context(), issue.Request{Subject: "alice", Client: "web", Audience: []string{upstream}, Lifetime: internalLifetime})
		if err != nil {
			t.Fatal(err)
		}
		return issued.Raw()
	}
	for what, c := range map[string]struct {
		raw    string
		status int
	}{
		"the gateway's token for it":      {vouched("orders"), 200},
		"the gateway's token for another": {vouched("billing"), 401},
		"the user's own token":            {user, 401},
		"nobody":                          {"", 401},
	} {
		if err := direct.get(t.Context(), c.raw, c.status, ""); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
