package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
)

const issuerName = "https://auth.example.com"

// A ref names an event: the publisher's incarnation and its count.
type ref struct {
	publisher uint16
	number    uint32
}

// A block of events revokes what the others of it do not, but for the two subject
// events, which concern one user with two sessions: the first keeps both, the
// second keeps one.
const block = 16

// value returns what the event revokes. All of it follows from the ref, so that
// verifiers and the checker know the tokens concerned without being told.
func (r ref) value() (kind revoke.Kind, value string) {
	name := fmt.Sprintf("%d.%d", r.publisher, r.number)
	switch i := r.number % block; {
	case i < 8:
		return revoke.KindToken, "jti-" + name
	case i < 13:
		return revoke.KindSession, "sid-" + name
	case i < 15:
		return revoke.KindSubject, fmt.Sprintf("user-%d.%d", r.publisher, r.number/block)
	}
	switch r.number / block % 3 {
	case 0:
		return revoke.KindClient, "app-" + name
	case 1:
		return revoke.KindTenant, "org-" + name
	}
	digits := fmt.Sprintf("%d-%d", r.publisher, r.number)
	return revoke.KindKey, strings.Repeat("K", 42-len(digits)) + digits + "A"
}

// lifetime is until when events live from their publication on: longer than a run,
// and equal for all, so that a publisher's memory loses the oldest first.
const lifetime = 2 * time.Hour

// event returns the event to be published, with a cutoff at before, if it is one.
func (r ref) event(now time.Time, before int64) revoke.Event {
	kind, value := r.value()
	e := revoke.Event{Issuer: issuerName, Kind: kind, Value: value, Until: now.Add(lifetime), Reason: "chaos"}
	if kind.Cutoff() {
		e.Before = time.UnixMilli(before)
	}
	if kind == revoke.KindSubject {
		e.Keep = []string{r.kept(1)}
		if r.number%block == 13 {
			e.Keep = append(e.Keep, r.kept(0))
		}
	}
	return e
}

// kept names a session of the subject of r's block.
func (r ref) kept(i int) string {
	return fmt.Sprintf("kept-%d.%d.%d", r.publisher, r.number/block, i)
}

// siblings are the events that concern the same tokens, r among them.
func (r ref) siblings() []ref {
	if i := r.number % block; i == 13 || i == 14 {
		first := r.number - i + 13
		return []ref{{r.publisher, first}, {r.publisher, first + 1}}
	}
	return []ref{r}
}

// A role says which token of those that an event concerns is checked.
type role uint8

const (
	oldToken   role = iota // issued before the event, not spared
	firstKept              // of the session that the first subject event alone keeps
	secondKept             // of the session that both keep
	newLogin               // issued after the cutoff
	stranger               // nothing to do with the event but its kind
	roles
)

func (r role) String() string {
	return [...]string{"an old token", "a session kept once", "a session kept twice", "a new login", "a stranger"}[min(r, roles-1)]
}

// identity returns the token of that role, issued at iat (milliseconds, its hyt_at).
func (r ref) identity(role role, iat int64) revoke.Identity {
	kind, value := r.value()
	name := fmt.Sprintf("%d.%d.%d", r.publisher, r.number, role)
	id := revoke.Identity{
		Issuer: issuerName, Token: "jti-of-" + name, Session: "sid-of-" + name, Subject: "sub-of-" + name,
		Client: "web", Tenant: "acme", Key: strings.Repeat("S", 42) + "A",
		IssuedAt: time.UnixMilli(iat).Truncate(time.Second), MintedAt: time.UnixMilli(iat), ExpiresAt: time.UnixMilli(iat).Add(lifetime),
	}
	if role == stranger {
		return id
	}
	switch kind {
	case revoke.KindToken:
		id.Token = value
	case revoke.KindSession:
		id.Session = value
	case revoke.KindSubject:
		id.Subject = value
		switch role {
		case firstKept:
			id.Session = r.kept(0)
		case secondKept:
			id.Session = r.kept(1)
		}
	case revoke.KindClient:
		id.Client = value
	case revoke.KindTenant:
		id.Tenant = value
	case revoke.KindKey:
		id.Key = value
	}
	return id
}

// wants returns the roles worth a check for the event's kind.
func (r ref) wants() []role {
	switch kind, _ := r.value(); kind {
	case revoke.KindSubject:
		return []role{oldToken, firstKept, secondKept, newLogin, stranger}
	case revoke.KindClient, revoke.KindTenant:
		return []role{oldToken, newLogin, stranger}
	}
	return []role{oldToken, stranger}
}

// issued returns the iat of the token of that role.
func (r role) issued(before int64) int64 {
	if r == newLogin {
		return before + 1
	}
	return before - time.Minute.Milliseconds()
}
