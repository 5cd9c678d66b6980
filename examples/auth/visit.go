package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// visit does what people do at the shop. It returns an error if something is not as it says.
func visit(ctx context.Context, out io.Writer, shop, orders string) error {
	at, issued := must(url.Parse(shop)), map[string]bool{} // access tokens
	laptop, phone := &http.Client{Jar: must(cookiejar.New(nil))}, &http.Client{Jar: must(cookiejar.New(nil))}
	for _, step := range []struct {
		says              string
		by                *http.Client
		path, form, shows string
	}{
		{"Without a session there is a login form.", laptop, "/devices", "", "<h1>Log in</h1>"},
		{"A wrong password does not do.", laptop, "/login", "name=alice&password=wonder", "do not go together"},
		{"Alice logs in on a laptop; the orders service accepts the session's token.", laptop, "/login", "name=alice&password=wonderland", "Storm lantern"},
		{"She logs in on a phone.", phone, "/login", "name=alice&password=wonderland", "Storm lantern"},
		{"The laptop lists both.", laptop, "/devices", "", "Log out everywhere else"},
		{"On the laptop she changes her password.", laptop, "/password", "current=wonderland&new=looking+glass", "Your password is changed"},
		{"The phone is logged out.", phone, "/", "", "<h1>Log in</h1>"},
		{"The laptop goes on.", laptop, "/", "", "Storm lantern"},
		{"There she logs out.", laptop, "/session/logout", "return_to=/login?said=out", "You are logged out"},
		{"The laptop is logged out.", laptop, "/", "", "<h1>Log in</h1>"},
	} {
		method := map[bool]string{true: "GET", false: "POST"}[step.form == ""]
		r := must(http.NewRequestWithContext(ctx, method, shop+step.path, strings.NewReader(step.form)))
		r.Header = http.Header{"Accept": {"text/html"}, "Sec-Fetch-Site": {"same-origin"}, "Content-Type": {"application/x-www-form-urlencoded"}}
		resp, err := step.by.Do(r)
		if err != nil {
			return err
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(page), step.shows) {
			return fmt.Errorf("%s Not so: %s (error: %v)", step.says, resp.Status, err)
		}
		fmt.Fprintln(out, step.says)
		for _, c := range step.by.Jar.Cookies(at) {
			if c.Name == "__Host-Http-session" {
				issued[c.Value] = true
			}
		}
	}
	for token := range issued {
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		for err := error(nil); err == nil || err.Error() != "401 Unauthorized"; {
			if asking.Err() != nil {
				return fmt.Errorf("the orders service goes on accepting an access token (error: %v)", err)
			}
			_, err = fetchOrders(asking, orders, token)
		}
	}
	fmt.Fprintf(out, "The orders service refuses all %d access tokens that there were.\n", len(issued))
	return nil
}
