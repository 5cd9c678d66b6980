package refresh

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/deviceproof"
)

// A session can be bound to a key that its device keeps (Device Bound Session Credentials,
// W3C, the text of 2026-02-17): what was copied from the device refreshes it no more.
//
//   - The login offers it: an authorization, of which the record has the hash, and a challenge
//     that follows from it.
//   - The browser makes a key and proves that it has it. The offer is used up, and the
//     session is bound for good.
//   - It refreshes by proofs of that key. Each is for one challenge, and each answer brings
//     the next. They are made, not stored: a MAC under a salt of the session's, over what
//     each use changes. Who knows the salt, a thief of the store, can make challenges and no proof.

// bound reports whether the session is bound to a key of its device.
func (s *session) bound() bool { return len(s.BoundSalt) > 0 }

// BindDevice binds a session to the key by which its browser has signed the proof of a
// registration, by the offer of its [Login] (BindDevice), which is used up by it. From then on
// nothing refreshes the session but [Manager.RefreshBound] and what [Request].InsecureUnbound
// lets pass, for good. Of several registrations at once one succeeds.
//
// It returns an access token and no refresh token, and [Grant.DeviceSession], by which the
// browser is told. A proof that is missing or not good, an offer that is used up or five
// minutes old, and a session that is bound already, are [ErrPossession]: nothing was changed.
// The other errors are those of [Manager.Refresh].
func (m *Manager) BindDevice(ctx context.Context, p DeviceProof) (*Grant, error) {
	began := m.millis()
	g, err := m.bindDevice(ctx, &p)
	m.count(ctx, &m.counts.bindDevice, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: bind device: %w", err)
	}
	return g, nil
}

// RefreshBound issues an access token for a session that is bound to a key of its device,
// by a proof of that key, and within all that limits [Manager.Refresh]. A refresh token that
// came along rotates, and where it was used up is replaced: the key has vouched for who
// sends it, and nobody else's use of it counts.
//
// A [ChallengeError] asks for another proof. The other errors are those of [Manager.Refresh]:
// one of [ErrLoginAgain] where there is no such session, it was never bound or it is over; and
// after one of [ErrTryAgain] the browser must be told nothing that ends its session (HTTP 503).
func (m *Manager) RefreshBound(ctx context.Context, p DeviceProof) (*Grant, error) {
	began := m.millis()
	g, err := m.refreshBound(ctx, &p)
	m.count(ctx, &m.counts.refreshBound, began, err)
	if err != nil {
		return nil, fmt.Errorf("refresh: bound: %w", err)
	}
	return g, nil
}

// beginBound refuses calls that cannot go on.
func (m *Manager) beginBound(ctx context.Context, p *DeviceProof) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	if p.Client == "" {
		return fmt.Errorf("%w: field Client is empty: the session could be another client's", ErrRequest)
	}
	p.Device = p.Device.cut()
	return m.clock()
}

func (m *Manager) bindDevice(ctx context.Context, p *DeviceProof) (*Grant, error) {
	if err := m.beginBound(ctx, p); err != nil {
		return nil, err
	}
	if p.Proof == "" {
		return nil, fmt.Errorf("%w: no proof", ErrPossession)
	}
	proof, err := deviceproof.Verify(p.Proof, nil, p.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrPossession, err)
	}
	o, ok := parseOffer(proof.Authorization)
	if !ok {
		return nil, fmt.Errorf("%w: the authorization is none of ours", ErrPossession)
	}
	if subtle.ConstantTimeCompare([]byte(proof.Challenge), []byte(o.challenge())) != 1 {
		return nil, fmt.Errorf("%w: for another challenge", ErrPossession)
	}
	return m.useBound(ctx, o.sid, func(r *session, now int64, next *session) error {
		offer := o.secret.hash(useOffer, o.sid)
		switch {
		case r.Ended != 0:
			return nil // of which no more is known
		case r.bound():
			return fmt.Errorf("%w: bound already", ErrPossession)
		case subtle.ConstantTimeCompare(offer[:], r.Offer) != 1:
			return fmt.Errorf("%w: the offer is another session's, or used up", ErrPossession)
		case now > r.OfferUntil+m.skew:
			return fmt.Errorf("%w: the offer is too old", ErrPossession)
		case p.Client != r.Client:
			return ErrClient
		}
		if next == nil {
			return nil
		}
		salt := newSecret()
		next.Offer, next.OfferUntil = nil, 0
		next.BoundKey, next.BoundSalt, next.BoundAt = proof.Key, salt[:], now
		next.Must = append(next.Must[:len(next.Must):len(next.Must)], "bound_key")
		return nil
	}, p.Device, nil)
}

func (m *Manager) refreshBound(ctx context.Context, p *DeviceProof) (*Grant, error) {
	if err := m.beginBound(ctx, p); err != nil {
		return nil, err
	}
	sid, ok := parseBoundID(p.Session)
	if !ok {
		return nil, errUnknown
	}
	var came *presented
	if t, ok := parseToken(p.Token); ok && t.sid == sid {
		came = &t
	}
	return m.useBound(ctx, sid, func(r *session, now int64, next *session) error {
		switch {
		case !r.bound(), subtle.ConstantTimeCompare([]byte(r.boundID()), []byte(p.Session)) != 1:
			return m.unless(ctx, r, errUnknown)
		case r.Ended != 0:
			return nil // of which no more is known
		case p.Client != r.Client:
			return ErrClient
		}
		if next == nil {
			return nil
		}
		if p.Proof == "" {
			return m.demand(r, "there is none")
		}
		proof, err := deviceproof.Verify(p.Proof, r.BoundKey, p.URL)
		if err != nil {
			return m.demand(r, err.Error())
		}
		if why := r.fresh(proof.Challenge, now, m.challengeLife(), m.skew); why != "" {
			return m.demand(r, why)
		}
		return nil
	}, p.Device, came)
}

// useBound uses a session by its key. may says whether that may be, first before anything is
// told of the session, and then, with what it is to become, once it is known to go on.
func (m *Manager) useBound(ctx context.Context, sid [16]byte, may func(r *session, now int64, next *session) error, device Device, came *presented) (*Grant, error) {
	var made rotation
	var out presented
	next, err := update[*session]{
		before: func(int) error { return m.restored(ctx, false) },
		load:   m.loading(sidText(sid), errUnknown),
		change: func(r *session) (*session, error) {
			now := m.millis()
			made, out = rotation{now: now, scope: r.Scope}, presented{}
			if err := may(r, now, nil); err != nil {
				return nil, err
			}
			if err := m.goesOn(ctx, r, now); err != nil {
				return nil, err
			}
			next := r.clone()
			if err := may(r, now, next); err != nil {
				return nil, err
			}
			// Before the denylist is asked, as ever.
			issued, err := m.issuedAt(ctx, r)
			if err != nil {
				return nil, err
			}
			if err := m.permitted(ctx, r); err != nil {
				return nil, err
			}
			next.cutWindows(now, m.grace(), m.skew)
			if err := m.ask(ctx, r, next); err != nil {
				return nil, err
			}
			if device != (Device{}) {
				next.Label, next.Address = device.Label, device.Address
			}
			next.Used, next.Issued = max(now, next.Used), max(issued, next.Issued)
			next.useUp()
			if came != nil {
				out = m.rotateBound(next, came, &made)
			}
			made.token, err = m.token(ctx, next, made.scope, issued)
			return next, err
		},
		landed: func(found, written *session) error {
			if found.Ended != 0 || !bytes.Equal(found.BoundMark, written.BoundMark) {
				return ErrConflict
			}
			return nil
		},
	}.do(ctx, m)
	if err != nil {
		return nil, err
	}
	token := ""
	if out != (presented{}) {
		m.noteSeals(next)
		token = next.spell(&out)
	}
	g := m.grant(next, made.scope, made.token, token, made.now)
	g.device = &deviceGrant{session: next.boundID(), challenge: next.challenge(made.now)}
	return g, nil
}

// rotateBound gives a session that is used by its key the successor of the refresh token that
// came along, or within the window the one that it has. It returns the zero presented
// where the session keeps its token: that was none of its own, or there is no room.
func (m *Manager) rotateBound(next *session, came *presented, made *rotation) presented {
	family := came.family.hash(useFamily, came.sid)
	if subtle.ConstantTimeCompare(family[:], next.Family) != 1 || next.ExactFrom == 1 && !came.exact {
		return presented{}
	}
	at, err := m.position(next, came, made.now, m.held(next))
	switch {
	case errors.Is(err, errBusy): // its successors were used up
		at = position{standing: late, generation: at.generation}
	case err != nil:
		return presented{}
	case at.standing == inWindow:
		return presented{sid: came.sid, family: came.family, generation: at.successor}
	case at.standing != current:
		at.standing = late
	}
	after, times := *next, next.Late
	after.Steps = append([]step(nil), next.Steps...)
	successor := newSecret()
	if err := m.rotate(&after, came, &at, successor, made.now); err != nil {
		return presented{}
	}
	after.Late, after.LateAt = times, next.LateAt // the ration is for those who prove nothing
	*next = after
	return presented{sid: came.sid, family: came.family, generation: successor}
}

// noteSeals has the seals of a rotation erased once their window is over.
func (m *Manager) noteSeals(s *session) {
	if m.cfg.Lifetimes.Grace > 0 {
		m.eraser.note(s.SID, m.now().Add(m.cfg.Lifetimes.Grace+time.Duration(m.skew+1)*time.Millisecond+finishTimeout))
	}
}

// tellUnbound tells the application that a bound session's refresh token came without a proof.
func (m *Manager) tellUnbound(ctx context.Context, s *session, answered bool) {
	m.log.Warn("refresh: the refresh token of a session that is bound to its device came without a proof", "sid", s.SID, "sub", s.Subject, "client_id", s.Client, "answered", answered)
	if m.cfg.OnUnbound != nil {
		m.cfg.OnUnbound(ctx, m.describe(s), answered)
	}
}
