package refresh

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"
)

// A Grant is what a client is given: an access token and the refresh token for the
// next one. It shows them by [Grant.AccessToken] and [Grant.RefreshToken] only, never
// to fmt, slog or encoding/json.
type Grant struct {
	SessionID string   // sid
	Subject   string   // sub
	Client    string   // client_id
	TokenType string   // "Bearer", or "DPoP" for a session bound to a key by it
	Scope     []string // of this access token

	AccessExpires  time.Time // exp of the access token
	RefreshExpires time.Time // when the refresh token is worth nothing unless it is used before
	SessionExpires time.Time // when the session is over whatever is done

	// The same, counted from when the grant was made: expires_in (RFC 6749 section 5.1),
	// and refresh_token_timeout and authorization_expires_in of the OAuth draft on the
	// expiration of refresh tokens.
	AccessTimeout, RefreshTimeout, SessionTimeout time.Duration

	// Pointers, because fmt prints a string field in places where it does not call
	// String.
	access, refresh *string
	device          *deviceGrant
	bound           bool // the session, to a key of its device
}

// A deviceGrant is what a browser is told of the key of its device.
type deviceGrant struct{ authorization, session, challenge string }

// AccessToken returns the access token.
func (g *Grant) AccessToken() string { return *g.access }

// RefreshToken returns the refresh token. It is empty where the session keeps the one that it
// has: after [Manager.BindDevice], and after [Manager.RefreshBound] if none came along.
func (g *Grant) RefreshToken() string { return *g.refresh }

// DeviceOffer returns what the browser is to be told after a [Login] with BindDevice, in the
// parameters of the header Secure-Session-Registration: the authorization, which is a secret,
// and the challenge. Both are empty where nothing is offered.
func (g *Grant) DeviceOffer() (authorization, challenge string) {
	if g.device == nil || g.device.session != "" {
		return "", ""
	}
	return g.device.authorization, g.device.challenge
}

// DeviceSession returns the id of the device-bound session and the challenge for its next
// proof, after [Manager.BindDevice] and [Manager.RefreshBound]. Otherwise both are empty. The
// id is for that browser alone.
func (g *Grant) DeviceSession() (id, challenge string) {
	if g.device == nil || g.device.session == "" {
		return "", ""
	}
	return g.device.session, g.device.challenge
}

// String names the session and no secret.
func (g Grant) String() string {
	return fmt.Sprintf("grant of session %s to client %s", g.SessionID, g.Client)
}

// GoString returns [Grant.String].
func (g Grant) GoString() string { return g.String() }

// LogValue logs the session, the subject and the client.
func (g Grant) LogValue() slog.Value {
	return slog.GroupValue(slog.String("sid", g.SessionID), slog.String("sub", g.Subject), slog.String("client_id", g.Client))
}

// A Session is what is told about one session: on a page of a user's devices, to the
// hooks. It holds no secret.
type Session struct {
	ID       string // sid
	Subject  string
	Client   string
	Tenant   string
	Scope    []string
	Device   Device
	Created  time.Time // the login
	LastUsed time.Time // the last refresh, or the login
	Expires  time.Time // unless it is refreshed before
	AuthTime time.Time // when the user was authenticated
	ACR      string
	AMR      []string

	DeviceBound bool // to a key of its device, see [Manager.BindDevice]
}

// A Device is what the application knows about where a session lives. It is kept and
// shown as it is given, as valid UTF-8: of each text as many characters as fit into 256 bytes.
type Device struct {
	Label   string // "Firefox on Linux"
	Address string // of the network
}

const maxDeviceBytes = 256

// cut returns what is kept. The texts come from strangers, and no login fails for them.
func (d Device) cut() Device { return Device{cutText(d.Label), cutText(d.Address)} }

func cutText(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxDeviceBytes+utf8.UTFMax)], "\ufffd")
	if len(s) <= maxDeviceBytes {
		return s
	}
	n := maxDeviceBytes
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (m *Manager) describe(s *session) Session {
	at, _ := s.deadline(&m.cfg.Lifetimes)
	return Session{
		ID: s.SID, Subject: s.Subject, Client: s.Client, Tenant: s.Tenant, Scope: append([]string(nil), s.Scope...),
		Device: Device{s.Label, s.Address}, Created: time.UnixMilli(s.Start), LastUsed: time.UnixMilli(s.Used), Expires: time.UnixMilli(at),
		AuthTime: time.UnixMilli(s.AuthTime), ACR: s.ACR, AMR: append([]string(nil), s.AMR...),
		DeviceBound: s.bound(),
	}
}

func (m *Manager) grant(s *session, scope []string, t minted, refreshToken string, now int64) *Grant {
	kind := "Bearer"
	if s.JKT != "" {
		kind = "DPoP"
	}
	idle, _ := s.deadline(&m.cfg.Lifetimes)
	absolute := min(s.Until, s.Start+m.cfg.Lifetimes.Absolute.Milliseconds())
	at := time.UnixMilli(now)
	return &Grant{
		SessionID: s.SID, Subject: s.Subject, Client: s.Client, TokenType: kind, Scope: append([]string(nil), scope...),
		AccessExpires: t.expires, RefreshExpires: time.UnixMilli(idle), SessionExpires: time.UnixMilli(absolute),
		AccessTimeout: t.expires.Sub(at), RefreshTimeout: time.UnixMilli(idle).Sub(at), SessionTimeout: time.UnixMilli(absolute).Sub(at),
		access: &t.token, refresh: &refreshToken, bound: s.bound(),
	}
}
