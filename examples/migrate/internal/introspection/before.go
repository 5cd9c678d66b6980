// Package introspection moves an API from asking about each token (RFC 7662) to this library.
package introspection

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Answer is what the endpoint says of a token; RFC 7662 section 2.2 has the members.
type Answer struct {
	Active   bool            `json:"active"`
	Subject  string          `json:"sub"`
	Audience json.RawMessage `json:"aud"` // a text, or several
}

// Ask asks the authorization server, once a request: its revocations hold at once, and while it is away nobody
// can be let in.
func Ask(r *http.Request, endpoint, id, secret string) (*Answer, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, errors.New("no bearer token")
	}
	form := strings.NewReader(url.Values{"token": {raw}}.Encode())
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, endpoint, form)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the introspection endpoint says %s", resp.Status)
	}
	var answer Answer
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	return &answer, nil
}

// IsFor says whether the answer is about a token for this service, which the endpoint need not check.
func (a *Answer) IsFor(audience string) bool {
	var one string
	if json.Unmarshal(a.Audience, &one) == nil {
		return one == audience
	}
	var several []string
	return json.Unmarshal(a.Audience, &several) == nil && slices.Contains(several, audience)
}
