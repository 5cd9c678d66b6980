package refresh

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// A Login says who was authenticated, by which client, and what the session is for.
// What it says carries over to every token of the session.
type Login struct {
	Subject  string   // sub. Required
	Client   string   // client_id. Required
	Audience []string // aud. Required

	// AuthTime is when the user was authenticated, taken before the password was
	// checked: a logout everywhere between the two must not be survived. Required; not
	// older than the absolute lifetime, not in the future.
	AuthTime time.Time

	// Recheck checks the password (or whatever it was) again. It is called when the
	// subject was logged out everywhere, or a cutoff for it, the client, the tenant or the
	// issuer published, about when it was authenticated, and the clocks
	// of two instances cannot tell which came first. An error of it refuses the login, with
	// ErrSuperseded. Nil: for the MaxSkew after such a cutoff every login that it concerns
	// is refused so, the one right after a password change too. An AuthTime before the
	// cutoff was made, or in the same millisecond, is refused without asking.
	Recheck func(ctx context.Context) error

	// What follows may be left out: the session has none of it then.

	Tenant  string   // see [issue.Request]
	Scope   []string // granted; a refresh may narrow it for one token, nothing widens it
	ACR     string
	AMR     []string
	Binding token.Binding  // the key that every refresh has to prove; see [Request].Binding
	Claims  map[string]any // custom claims, kept as JSON of at most 16 KiB
	Device  Device

	// BindDevice offers to bind the session to a key of the browser's device, see
	// [Grant.DeviceOffer] and [Manager.BindDevice]. It does not go with Binding.
	BindDevice bool
}

// Login begins a session: always a new one, under an id of 128 random bits that no
// client chooses (OWASP ASVS 5.0, 7.2.4). A cutoff published after AuthTime ends it. To
// pass one that was published before, Login waits until the token may be dated past it:
// usually for MaxSkew, at most for twice that, and not at all after [Manager.LogoutAll].
// The Recheck of l decides where nobody can tell which came first. An error of neither
// family matches [ErrLogin] and names the field of l that is to blame.
func (m *Manager) Login(ctx context.Context, l Login) (*Grant, error) {
	began := m.millis()
	g, err := m.login(ctx, l)
	m.count(ctx, &m.counts.login, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: login: %w", err)
	}
	return g, nil
}

func (m *Manager) login(ctx context.Context, l Login) (*Grant, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	if err := m.clock(); err != nil { // before AuthTime is judged by it
		return nil, err
	}
	claims, err := m.checkLogin(&l)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	}
	if err := m.restored(ctx, false); err != nil {
		return nil, err
	}
	p := presented{family: newSecret(), generation: newSecret()}
	rand.Read(p.sid[:]) // never fails
	sid := sidText(p.sid)
	offer := offered{p.sid, newSecret()} // one for all tries: an old answer of the store may show an earlier one
	at := place{key: m.sessionKey(sid)}
	rechecked := false
	for try := range maxTries {
		sub, err := m.loadSubject(ctx, l.Subject)
		if err != nil {
			return nil, err
		}
		if sub.Op != "" {
			if err := m.finish(ctx, l.Subject, sub); err != nil {
				// It does not concern this login: the cutoff is in the record.
				m.log.Warn("refresh: logout everywhere still pending", "error", err)
			} else if sub, err = m.loadSubject(ctx, l.Subject); err != nil {
				return nil, err
			}
		}
		if err := sub.understood(); err != nil {
			return nil, err
		}
		now := m.millis()
		verdict := m.judge(sub.Cutoff, now, &l)
		switch verdict {
		case refused:
			return nil, ErrSuperseded
		case future:
			// Logging in again is of no use. It was made by somebody whose clock is ahead.
			return nil, fmt.Errorf("%w: a cutoff for the subject, client, tenant or issuer lies in the future", errClock)
		}
		if verdict == unsure && l.Recheck == nil {
			return nil, fmt.Errorf("%w, or within %s of it: field Recheck is nil, so nobody can tell which came first", ErrSuperseded, time.Duration(m.skew)*time.Millisecond)
		}
		start, err := m.startAfter(max(now, sub.Cutoff+1, m.guard.boundary.Load()+1), &l)
		if err != nil {
			return nil, err
		}
		if ahead := start - m.skew - now; ahead > 0 {
			// No token is dated further ahead, or it would outrun the next cutoff.
			if err := m.pause(ctx, ahead); err != nil {
				return nil, err
			}
			continue // who knows what has happened meanwhile
		}
		switch {
		case verdict == passed || rechecked:
		default:
			// After the record was read: what holds now held after that logout.
			if err := l.Recheck(ctx); err != nil {
				return nil, fmt.Errorf("%w: %w", ErrSuperseded, err)
			}
			rechecked = true
		}
		s := m.begun(&l, claims, sid, start)
		family, current := p.family.hash(useFamily, p.sid), p.generation.hash(useGeneration, p.sid)
		s.Family = family[:]
		s.nextGeneration(current)
		if l.BindDevice {
			s.offer(&offer, now)
		}
		t, err := m.firstToken(ctx, s)
		if errors.Is(err, ErrConflict) { // by a cutoff that came meanwhile
			rechecked = false
			continue
		}
		if err != nil {
			return nil, err
		}
		s.place = at
		if err := m.save(ctx, s); err != nil {
			return nil, busy(err) // nobody else writes it
		}
		at = s.place
		switch err := m.join(ctx, &l, sub, verdict, s); {
		case errors.Is(err, errJudgeAnew):
			rechecked = false
			if err := m.backOff(ctx, try); err != nil {
				return nil, fmt.Errorf("%w: %w", errBusy, err)
			}
			continue
		case err != nil:
			return nil, err
		}
		g := m.grant(s, s.Scope, t, p.encode(), now)
		if l.BindDevice {
			g.device = &deviceGrant{authorization: offer.encode(), challenge: offer.challenge()}
		}
		return g, nil
	}
	return nil, errBusy
}

// begun returns a new session, without its secrets.
func (m *Manager) begun(l *Login, claims json.RawMessage, sid string, start int64) *session {
	return &session{
		V: recordVersion, SID: sid, Subject: l.Subject, Client: l.Client, Tenant: l.Tenant, Audience: l.Audience, Scope: l.Scope,
		AuthTime: l.AuthTime.UnixMilli(), ACR: l.ACR, AMR: l.AMR, JKT: l.Binding.KeyThumbprint, X5T: l.Binding.CertificateThumbprint,
		Claims: claims, Label: l.Device.Label, Address: l.Device.Address,
		ExactFrom: 1, Start: start, Until: start + m.cfg.Lifetimes.Absolute.Milliseconds(), Used: start, Issued: start,
	}
}

// firstToken issues the access token of a login. What no token can say is the caller's
// mistake, and trying again is useless.
func (m *Manager) firstToken(ctx context.Context, s *session) (minted, error) {
	t, err := m.token(ctx, s, s.Scope, s.Start)
	if errors.Is(err, issue.ErrRequest) {
		return minted{}, fmt.Errorf("%w: %v", ErrLogin, err)
	}
	return t, err
}

func (m *Manager) checkLogin(l *Login) (claims json.RawMessage, err error) {
	now := m.now().Time()
	switch {
	case l.Subject == "":
		return nil, errors.New("field Subject is empty")
	case l.Client == "":
		return nil, errors.New("field Client is empty")
	case len(l.Audience) == 0:
		return nil, errors.New("field Audience is empty")
	case l.AuthTime.IsZero():
		return nil, errors.New("field AuthTime is zero: a password change while the user logs in would go unseen")
	case l.AuthTime.After(now.Add(time.Duration(m.skew) * time.Millisecond)):
		return nil, errors.New("field AuthTime lies in the future: the session would survive a logout everywhere")
	case l.AuthTime.Before(now.Add(-m.cfg.Lifetimes.Absolute)):
		return nil, fmt.Errorf("field AuthTime lies longer ago than a session lasts, %s", m.cfg.Lifetimes.Absolute)
	case l.BindDevice && !l.Binding.IsZero():
		return nil, errors.New("fields BindDevice and Binding are both set: a session is bound to one key")
	}
	l.Device = l.Device.cut()
	for _, f := range []struct{ name, value string }{{"Subject", l.Subject}, {"Client", l.Client}, {"Tenant", l.Tenant}} {
		if f.value == "" {
			continue
		}
		if err := replica.CheckIdentifier(f.name, f.value); err != nil { // no token is issued that no event could revoke
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	for _, list := range []*[]string{&l.Audience, &l.Scope, &l.AMR} {
		*list = slices.Clone(*list)
	}
	return encodeClaims(l.Claims)
}

// busy turns a conflict, which is no word for a caller, into one.
func busy(err error) error {
	if errors.Is(err, ErrConflict) {
		return errBusy
	}
	return err
}
