package token_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/forge"
	"github.com/hybridtoken/hybridtoken/token/issue"
)

// The claim hyt_at counts from issuers of ours alone, where it must be an integer, not
// before iat and not further ahead than any login may be dated. Whatever stands there in
// other people's tokens refuses none and spares none.
func TestMintedAt(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		time.Sleep(700 * time.Millisecond)
		now := time.Now()
		second := now.Truncate(time.Second)
		list := forge.LocalList(t, revoke.Config{})
		forge.Apply(t, list, revoke.Event{Issuer: forge.Issuer, Kind: revoke.KindSubject, Value: "sub-secret-0001", Before: now})
		verifier := func(own bool, log *bytes.Buffer) *token.Verifier {
			return forge.Verifier(t, func(c *token.VerifierConfig) {
				c.Algorithms, c.Keys, c.OwnIssuer = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), own
				c.Revocations, c.InsecureNoRevocations = list, false
				c.Logger = slog.New(slog.NewTextHandler(log, nil))
			})
		}
		ms := func(d time.Duration) string { return fmt.Sprint(now.Add(d).UnixMilli()) }
		for _, x := range []struct {
			iat, hytAt   string // hytAt empty: missing
			own, foreign error  // nil: accepted
		}{
			// The cutoff is now, in the middle of a second.
			{fmt.Sprint(second.Unix()), "", revoke.ErrRevoked, revoke.ErrRevoked},
			{fmt.Sprint(second.Unix() + 1), "", nil, nil},
			{fmt.Sprint(second.Unix()), ms(0), revoke.ErrRevoked, revoke.ErrRevoked},
			{fmt.Sprint(second.Unix()), ms(time.Millisecond), nil, revoke.ErrRevoked},
			{fmt.Sprint(second.Unix() + 1), ms(time.Second), nil, nil},
			// A token of the version before: a fraction, and no such claim.
			{fmt.Sprintf("%d.701", second.Unix()), "", nil, nil},
			{fmt.Sprintf("%d.700", second.Unix()), "", revoke.ErrRevoked, revoke.ErrRevoked},
			// As far ahead as can be, and further.
			{fmt.Sprint(second.Unix()), ms(4 * time.Second), nil, revoke.ErrRevoked},
			{fmt.Sprint(second.Unix()), ms(4*time.Second + time.Millisecond), token.ErrNotYetValid, revoke.ErrRevoked},
			{fmt.Sprint(second.Unix()), ms(time.Hour), token.ErrNotYetValid, revoke.ErrRevoked},
			// Before iat.
			{fmt.Sprint(second.Unix() + 1), ms(299 * time.Millisecond), token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), ms(300 * time.Millisecond), nil, nil},
			// Other than integers of milliseconds.
			{fmt.Sprint(second.Unix() + 1), `"` + ms(time.Second) + `"`, token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), ms(time.Second) + ".0", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), ms(time.Second) + "e0", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), fmt.Sprint(second.Unix() + 1), token.ErrClaims, nil}, // seconds
			{fmt.Sprint(second.Unix() + 1), "-" + ms(0), token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), "0", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), "99999999999999999999", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), "9007199254740993000", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), "null", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), "true", token.ErrClaims, nil},
			{fmt.Sprint(second.Unix() + 1), "[" + ms(0) + "]", token.ErrClaims, nil},
		} {
			claims := forge.Claims(now).Without("nbf").With("iat", x.iat)
			if x.hytAt != "" {
				claims = claims.With("hyt_at", x.hytAt)
			}
			raw := ed.Forge(ed.Header(), claims)
			for own, want := range map[bool]error{true: x.own, false: x.foreign} {
				var log bytes.Buffer
				v := verifier(own, &log)
				for range 2 { // remembered, if it was accepted
					c, err := v.Verify(t.Context(), raw)
					if !errors.Is(err, want) {
						t.Errorf("iat %s, hyt_at %s, own issuer %v: %v, want %v", x.iat, x.hytAt, own, err, want)
					}
					if heeded := own && x.hytAt != ""; err == nil && c.MintedAt().IsZero() == heeded {
						t.Errorf("iat %s, hyt_at %s, own issuer %v: MintedAt is %s", x.iat, x.hytAt, own, c.MintedAt())
					}
				}
				if told := strings.Contains(log.String(), "OwnIssuer"); told != (!own && x.hytAt != "") {
					t.Errorf("iat %s, hyt_at %s, own issuer %v: logged %s", x.iat, x.hytAt, own, &log)
				}
			}
		}
	})
}

// AllowYounger counts from iat: a login that is dated past a cutoff is no younger for it,
// and a token that a refresh dates by what its replica has seen is older.
func TestAllowYoungerCountsFromIssuedAt(t *testing.T) {
	forge.Keys()
	synctest.Test(t, func(t *testing.T) {
		ed := forge.Ed(t, "ed", forge.Keys().Ed)
		list, err := revoke.NewList(revoke.Config{}) // never fresh
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		v := forge.Verifier(t, func(c *token.VerifierConfig) {
			c.Algorithms, c.Keys, c.OwnIssuer = []token.Algorithm{token.EdDSA}, forge.StaticKeys(t, ed), true
			c.Revocations, c.InsecureNoRevocations, c.WhenStale = list, false, revoke.AllowYounger(time.Minute)
		})
		for iat, want := range map[time.Duration]error{-time.Minute: nil, -61 * time.Second: revoke.ErrStale} {
			raw := ed.Forge(ed.Header(), forge.Claims(now).Without("nbf").With("iat", fmt.Sprint(now.Add(iat).Unix())).With("hyt_at", fmt.Sprint(now.Add(3*time.Second).UnixMilli())))
			for range 2 {
				if _, err := v.Verify(t.Context(), raw); !errors.Is(err, want) {
					t.Errorf("iat %s: %v, want %v", iat, err, want)
				}
			}
		}
	})
}

// Other people's iat is a whole second, rounded as they like.
func TestForeignIssuersNeedASecond(t *testing.T) {
	ring := forge.Ring(t, issue.KeyringConfig{})
	for skew, want := range map[time.Duration]bool{time.Second: true, 999 * time.Millisecond: false} {
		for _, own := range []bool{false, true} {
			_, err := token.NewVerifier(token.VerifierConfig{
				Issuer: forge.Issuer, Audiences: []string{forge.Audience}, Algorithms: []token.Algorithm{token.EdDSA}, OwnIssuer: own,
				Keys: forge.StaticKeys(t, forge.Ed(t, "ed", forge.Keys().Ed)), Revocations: forge.LocalList(t, revoke.Config{MaxSkew: skew}),
			})
			if (err == nil) != (want || own) || err != nil && !strings.Contains(err.Error(), "VerifierConfig.Revocations has a MaxSkew of 999ms") {
				t.Errorf("MaxSkew %s, own issuer %v: %v", skew, own, err)
			}
		}
	}
	// A keyring signs for an issuer of ours.
	if v := forge.RingVerifier(t, ring, token.EdDSA); v == nil {
		t.Error("no verifier")
	}
	for _, skew := range []time.Duration{-1, 1, 1500 * time.Microsecond, revoke.MaxSkewLimit + time.Millisecond} {
		if _, err := issue.NewIssuer(issue.Config{Issuer: forge.Issuer, Keys: ring, MaxSkew: skew}); err == nil || !strings.Contains(err.Error(), "issue: Config.MaxSkew") {
			t.Errorf("MaxSkew %s: %v", skew, err)
		}
	}
}
