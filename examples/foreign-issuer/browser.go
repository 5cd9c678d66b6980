package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const callback = "https://shop.example.com/callback"

// A browser is a user's, with the cookies of a session at the provider, and the shop behind it, which
// exchanges codes and refresh tokens.
type browser struct {
	*world
	user   string
	client *http.Client

	access, refresh, id string // tokens of the last login or refresh
}

func (w *world) browser(user string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // it never fails
	}
	return &browser{world: w, user: user, client: &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	promptName = regexp.MustCompile(`name="prompt" value="(\w+)"`)
	xsrfValue  = regexp.MustCompile(`name="xsrf" value="(\w+)"`)
)

// login goes through the authorization code flow, and fills in the provider's forms.
func (b *browser) login(ctx context.Context) error {
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	at := b.issuer + "/auth?" + url.Values{
		"client_id": {"shop"}, "response_type": {"code"}, "redirect_uri": {callback}, "scope": {"openid offline_access orders"}, "prompt": {"login consent"},
		"resource": {"https://orders.example.com"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}.Encode()
	for range 20 {
		status, location, body, err := b.visit(ctx, http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		if location == "" {
			form, prompt := formAction.FindStringSubmatch(body), promptName.FindStringSubmatch(body)
			if form == nil || prompt == nil {
				return fmt.Errorf("the provider shows no form: %d", status)
			}
			if _, location, _, err = b.visit(ctx, http.MethodPost, form[1], url.Values{"prompt": {prompt[1]}, "login": {b.user}, "password": {"any"}}); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(location, callback) {
			if at = location; at == "" {
				return errors.New("the provider does not go on after a form")
			}
			continue
		}
		back, err := url.Parse(location)
		if err != nil {
			return err
		}
		q := back.Query()
		if q.Get("iss") != b.issuer || q.Get("code") == "" { // RFC 9207
			return fmt.Errorf("the provider answers %q", q.Get("error"))
		}
		return b.exchange(ctx, url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {callback}, "code_verifier": {verifier}})
	}
	return errors.New("the provider sends the browser around in circles")
}

// renew refreshes.
func (b *browser) renew(ctx context.Context) error {
	return b.exchange(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {b.refresh}})
}

// logout ends the session at the provider (OpenID Connect RP-Initiated Logout).
func (b *browser) logout(ctx context.Context) error {
	_, _, body, err := b.visit(ctx, http.MethodGet, b.issuer+"/session/end?"+url.Values{"id_token_hint": {b.id}, "client_id": {"shop"}}.Encode(), nil)
	if err != nil {
		return err
	}
	form, xsrf := formAction.FindStringSubmatch(body), xsrfValue.FindStringSubmatch(body)
	if form == nil || xsrf == nil {
		return errors.New("the provider shows no form to log out")
	}
	_, _, _, err = b.visit(ctx, http.MethodPost, form[1], url.Values{"xsrf": {xsrf[1]}, "logout": {"yes"}})
	return err
}

func (b *browser) visit(ctx context.Context, method, at string, form url.Values) (status int, location, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", "", err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, "", "", err
	}
	if l, err := resp.Location(); err == nil {
		location = l.String()
	}
	return resp.StatusCode, location, string(text), nil
}

func (b *browser) exchange(ctx context.Context, form url.Values) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("shop", b.secret)
	resp, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
		Error   string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return err
	}
	if resp.StatusCode != 200 || answer.Access == "" {
		return fmt.Errorf("the provider's token endpoint answers %d %q", resp.StatusCode, answer.Error)
	}
	b.access, b.refresh, b.id = answer.Access, answer.Refresh, answer.ID
	return nil
}
