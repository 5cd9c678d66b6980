package token

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/strictjson"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
)

// Bounds on one proof, in bytes.
const (
	maxProofBytes = 8 << 10
	maxProofJTI   = 256

	maxProofRSABits = 4096
)

// check holds the proof of s against the list of RFC 9449 section 4.3, but for its
// first check, which is the caller's (one header), and for the last, that it is new,
// which is record's. raw is the access token that came with it, jkt the key that the
// token is bound to; both are empty for a request without a token.
func (d *dpopState) check(s *Sender, raw, jkt string, now time.Time) (*proofUse, error) {
	uri, err := normalURI(s.URL)
	if err != nil { // ours, not the sender's
		return nil, badProof("the URL of the request is not known")
	}
	p, err := split(s.Proof, maxProofBytes)
	if err != nil {
		return nil, proofError(err)
	}
	h, err := parseProofHeader(p.header, "dpop+jwt")
	if err == nil && !h.hasKey {
		err = errors.New("header jwk is missing")
	}
	if err != nil {
		return nil, proofError(err)
	}
	public, err := h.key(d.cfg.Algorithms)
	if err != nil {
		return nil, proofError(err)
	}
	thumbprint, err := jose.Thumbprint(public)
	if err != nil {
		return nil, proofError(err)
	}
	// Another's key may sign as it likes.
	if jkt != "" && !equal(thumbprint, jkt) {
		return nil, unbound("bound to another DPoP key")
	}
	verifier, err := jose.NewVerifier(string(h.alg), public)
	if err != nil {
		return nil, proofError(err)
	}
	if !verifier.Verify(p.signed, p.signature) {
		return nil, badProof("bad signature")
	}
	c, err := parseProofClaims(p.payload)
	if err != nil {
		return nil, proofError(err)
	}
	created, err := d.judge(c, s.Method, uri, raw, now)
	if err != nil {
		return nil, err
	}
	return &proofUse{cache: d.replay, jkt: thumbprint, jti: c.jti, uri: uri, created: created}, nil
}

// proofError puts err, of a decoder for tokens or keys, into the family of proofs and
// takes it out of its own: it says nothing of the token.
func proofError(err error) error { return badProof(strings.TrimPrefix(err.Error(), "token: ")) }

// A proofHeader is what we use of the JOSE header of a proof.
type proofHeader struct {
	alg    Algorithm
	hasKey bool
	jwk    foreignKey
}

// parseProofHeader reads the header of a proof of that typ. Proofs are the one kind of
// token that brings its own key; whose key it is, the access token or the session says.
func parseProofHeader(data []byte, typ string) (proofHeader, error) {
	plain, err := parseHeader(data)
	switch {
	case err != nil:
		return proofHeader{}, err
	case !asciiEqualFold(plain.typ, typ):
		return proofHeader{}, errors.New("header typ is not " + typ)
	}
	h := proofHeader{alg: plain.alg}
	err = strictjson.Object(data, func(name string, v strictjson.Value) error {
		if name != "jwk" {
			return nil
		}
		h.hasKey = true
		if v.Kind() != '{' {
			return errors.New("header jwk is not an object")
		}
		return strictjson.Object(v.Raw(), h.jwk.member)
	})
	if err != nil {
		return proofHeader{}, err
	}
	return h, nil
}

// key returns the public key of h for the algorithm of h, which must be allowed.
func (h *proofHeader) key(allowed []Algorithm) (crypto.PublicKey, error) {
	k := h.jwk
	switch {
	case !slices.Contains(allowed, h.alg):
		return nil, errors.New("algorithm not allowed")
	case k.private != "" || k.Kty == "oct":
		return nil, errors.New("jwk holds a private or symmetric key")
	case !h.alg.fits(k.Kty, k.Crv):
		return nil, errors.New("jwk is no key for the algorithm")
	case k.hasAlg && Algorithm(k.alg).one() != h.alg:
		return nil, errors.New("jwk is for another algorithm")
	case k.hasUse && k.use != "sig", k.hasOps && !k.verifies:
		return nil, errors.New("jwk is not for signatures")
	}
	// A stranger chooses the key, and verifying costs the square of its length.
	if len(k.N) > base64.RawURLEncoding.EncodedLen(maxProofRSABits/8) {
		return nil, fmt.Errorf("jwk is an RSA key of more than %d bits", maxProofRSABits)
	}
	public, err := k.Public()
	if err != nil {
		return nil, err
	}
	return jose.CheckPublic(string(h.alg), public)
}

// A proofClaims is the payload of a proof (RFC 9449 section 4.2).
type proofClaims struct {
	jti, htm, htu      string
	ath, nonce         string // empty if there is none
	noNonce            bool   // it is there, and no string
	issued             date
	expires, notBefore date
}

func parseProofClaims(data []byte) (*proofClaims, error) {
	c := &proofClaims{}
	err := strictjson.Object(data, func(name string, v strictjson.Value) (err error) {
		switch name {
		case "jti":
			if c.jti, err = text(name, v); err == nil && (c.jti == "" || len(c.jti) > maxProofJTI) {
				err = claim(name, "is empty or too long")
			}
		case "htm":
			c.htm, err = text(name, v)
		case "htu":
			c.htu, err = text(name, v)
		case "ath": // asked for where there is a token, and nonce where RequireNonce is set
			c.ath, _ = v.Text()
		case "nonce":
			var ok bool
			c.nonce, ok = v.Text()
			c.noNonce = !ok
		case "iat":
			c.issued, err = numericDate(name, v)
		case "exp":
			c.expires, err = numericDate(name, v)
		case "nbf":
			c.notBefore, err = numericDate(name, v)
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case c.jti == "":
		return nil, missing("jti")
	case c.htm == "":
		return nil, missing("htm")
	case c.htu == "":
		return nil, missing("htu")
	case !c.issued.set:
		return nil, missing("iat")
	}
	return c, nil
}

// judge compares what a proof says with the request. It returns when the proof was
// made, in milliseconds, by our own clock if there is a nonce.
func (d *dpopState) judge(c *proofClaims, method, uri, raw string, now time.Time) (int64, error) {
	if c.htm != method {
		return 0, badProof("htm is another method")
	}
	if htu, err := normalURI(c.htu); err != nil || htu != uri {
		return 0, badProof("htu is another URL")
	}
	if raw != "" {
		sum := sha256.Sum256([]byte(raw))
		if !equal(c.ath, segment.EncodeToString(sum[:])) {
			return 0, badProof("ath is not the hash of the access token")
		}
	}
	if d.cfg.RequireNonce {
		if c.noNonce {
			return 0, badProof("nonce is not a string")
		}
		created, ok := d.openNonce(c.nonce, now)
		if !ok {
			return 0, fmt.Errorf("token: %w", ErrNonce)
		}
		return created, nil // the sender's clock does not matter
	}
	switch ms, window := now.UnixMilli(), d.cfg.Window.Milliseconds(); {
	case c.issued.ms < ms-window || c.issued.ms > ms+window:
		return 0, badProof("iat is too far from now")
	case c.expires.set && c.expires.ms <= ms-window:
		return 0, badProof("exp has passed")
	case c.notBefore.set && c.notBefore.ms > ms+window:
		return 0, badProof("nbf lies in the future")
	}
	return c.issued.ms, nil
}
