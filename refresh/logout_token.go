package refresh

import (
	"context"
	"errors"
	"fmt"
)

// LogoutToken ends the session of a refresh token, here and at every service, as
// [Manager.Logout] does: token revocation after RFC 7009. client is the client_id that
// presents the token, as it authenticated itself or, if it is a public client, as it says.
//
// A token that is none of ours, or whose session is forgotten, is no error, and nothing is
// done (section 2.2). One of another client is [ErrClient], and nothing is done. A token
// that was used up ends its session like the present one: who holds it wants no more than
// what a replay would bring about, and no theft is reported. Possession of the key that
// a session is bound to need not be proven.
func (m *Manager) LogoutToken(ctx context.Context, refreshToken, client string) error {
	began := m.millis()
	err := m.begin(ctx)
	if err == nil {
		err = m.logoutToken(ctx, refreshToken, client)
	}
	m.count(ctx, &m.counts.logoutToken, began, err)
	if err != nil {
		return fmt.Errorf("refresh: logout: %w", err)
	}
	return nil
}

func (m *Manager) logoutToken(ctx context.Context, refreshToken, client string) error {
	if client == "" {
		return fmt.Errorf("%w: the client is empty: the token could be another client's", ErrRequest)
	}
	p, ok := parseToken(refreshToken)
	if !ok {
		return nil
	}
	ctx, cancel := m.after(ctx)
	defer cancel()
	r, err := update[*session]{
		load:   m.loading(sidText(p.sid), errUnknown),
		change: func(r *session) (*session, error) { return r, m.holds(ctx, r, &p) },
	}.do(ctx, m)
	switch {
	case errors.Is(err, errUnknown):
		return nil
	case err != nil:
		return err
	case r.Ended != 0 && !r.Pending: // whose client nobody knows any more
		return m.tellAgain(ctx, r)
	case r.Client != client:
		return ErrClient
	}
	s, err := m.end(ctx, r.SID, ending{reason: "logout", publish: true})
	if err == nil {
		m.unlist(ctx, s)
	}
	return err
}

// holds reports whether the token is of the session's family: errUnknown if it is not.
func (m *Manager) holds(ctx context.Context, r *session, p *presented) error {
	err := m.belongs(ctx, r, p, m.millis())
	switch {
	case errors.Is(err, errBusy): // its new token is on its way
		return nil
	case err != nil || r.Ended != 0:
		return err
	}
	if _, err := m.position(r, p, m.millis(), nil); errors.Is(err, errUnknown) {
		return errUnknown // another spelling
	}
	return nil
}
