package issue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/recordstore"
	"github.com/hybridtoken/hybridtoken/revoke"
	"github.com/hybridtoken/hybridtoken/token"
	"github.com/hybridtoken/hybridtoken/token/internal/jose"
	"github.com/hybridtoken/hybridtoken/token/internal/shape"
)

// KeyringConfig configures a [Keyring]. All but Algorithm and MaxAge is for
// [OpenKeyring]. The instances that share a ring must agree on everything but
// RefreshInterval, FirstKey, CopyFrom, Revocations and Logger.
type KeyringConfig struct {
	// Issuer is the iss of the tokens that the ring signs: it names the record that the
	// ring is, and what is sealed for it opens as no other's. [NewIssuer] refuses a ring of
	// another. Required, but for a [FileStore], which holds one ring.
	Issuer string

	// Algorithm is what new keys are for. Empty means [token.EdDSA]. Symmetric algorithms
	// are refused: a secret cannot be published. A change takes effect with the next
	// key that is announced; verifiers must allow both algorithms by then.
	Algorithm token.Algorithm

	// MaxAge is how long others may keep the published keys. Zero means 5 min;
	// between 1 s and a day.
	MaxAge time.Duration

	// RotateEvery is how long a key signs. Zero means 30 days; at least AnnounceFor +
	// MaxSkew, and not so short that a hundred keys would be published.
	RotateEvery time.Duration

	// AnnounceFor is how long a key is published before it may sign. It is also what
	// an instance survives without its store: it goes on for AnnounceFor − 2 × MaxAge,
	// and then stops signing and serving keys, because the others may use a key that it
	// has not heard of or have dropped one of its keys. (Why twice: a shared HTTP cache may
	// hand on a response that is MaxAge old, to a verifier that keeps it for MaxAge.)
	// Zero means a day, or half of RotateEvery if that is shorter; at least
	// 3 × MaxAge.
	AnnounceFor time.Duration

	// TokenLifetime is the longest exp − iat of a token that the ring signs, that of
	// [Config]. A key that signs no more is published until the last token it can
	// have signed, anywhere, has expired for every verifier. Zero means that of
	// [revoke.DefaultRetention], an hour; between 1 s and 90 days.
	TokenLifetime time.Duration

	// MaxSkew is by how much the clocks of any two instances and verifiers may differ.
	// Zero means 1 min; at most an hour.
	MaxSkew time.Duration

	// RefreshInterval is how often the store is read, give or take a quarter: how soon
	// an instance follows what another has done. Zero means 30 s, or less if
	// AnnounceFor − 2 × MaxAge is short, of which it can be at most half.
	RefreshInterval time.Duration

	// SealKeys encrypt what is stored (AES-256-GCM, bound to Issuer and the record's key):
	// the first seals, all of them open, so that they can be rotated. First add the new one
	// behind the old on every instance, then put it first, then, when
	// [KeyringStatus].SealedBy is the new one's on every instance, leave the old one out.
	// Required, but for a [FileStore]: nil stores the private keys there as they are, and who
	// can read the file, or a backup of it, can issue tokens for every user. Sealing keeps
	// nobody who can write to the store from deleting the ring or putting an old one back.
	SealKeys []*SealKey

	// InsecureOpenPlain accepts, with SealKeys, a ring that is not sealed, or that an
	// earlier version has sealed for no issuer, and seals it: for the one deployment that
	// begins to seal, or that has moved such a ring into a store. Who can write to the store
	// can then replace the ring by keys of their own, and issue tokens for every user.
	InsecureOpenPlain bool

	// Revocations is the service's List. A key that it holds as revoked is not loaded, not
	// served and removed from the store, and when it is the one that signs the announced key
	// takes over at once. Until a List is fresh it may not know of a revocation: open the
	// ring when it is. Nil means that the ring goes by the store alone, and that a key that
	// leaked signs until [Keyring.Remove]; what it signs is refused by every verifier that
	// knows of its revocation, but users get no other tokens meanwhile.
	Revocations *revoke.List

	// FirstKey is what a ring begins with if the store is empty, such as the key that
	// verifiers know already. Nil means a new key. It must be a key pair in memory: what
	// is in a KMS cannot be stored, and [NewKeyring] takes it.
	FirstKey *SigningKey

	// CopyFrom is another store, whose ring of this Issuer a ring begins with if its own store
	// has none: for a service that moves from a file to a bucket, say. It is read once and
	// not changed; instances must not go on using it. What it holds is opened with SealKeys.
	// If it has no ring, FirstKey counts. Nil means none.
	CopyFrom Store

	// Logger hears of keys that change their state, and of a store that fails. Nil
	// means silent.
	Logger *slog.Logger

	clock func() revoke.Instant // of tests; nil means revoke.Now
}

// What a key that signs no more must outlive beside the lifetime of tokens: the
// largest leeway of a verifier, and an iat in the future, generously.
const retiredMargin = revoke.MaxLeeway + 30*time.Second

// withDefaults returns c completed, or an error that names the field.
func (c KeyringConfig) withDefaults() (KeyringConfig, error) {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	if c.Algorithm == "" {
		c.Algorithm = token.EdDSA
	}
	c.Algorithm = jose.One(c.Algorithm)
	set(&c.MaxAge, 5*time.Minute)
	set(&c.RotateEvery, 30*24*time.Hour)
	set(&c.AnnounceFor, max(3*c.MaxAge, min(24*time.Hour, c.RotateEvery/2)))
	set(&c.TokenLifetime, revoke.DefaultRetention().TokenLifetime)
	set(&c.MaxSkew, time.Minute)
	set(&c.RefreshInterval, min(30*time.Second, c.alone()/3))
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.clock == nil {
		c.clock = revoke.Now
	}
	c.SealKeys = slices.Clone(c.SealKeys)
	return c, c.check()
}

// checkStore refuses a store that needs what is not configured.
func (c *KeyringConfig) checkStore(store Store) error {
	if _, file := store.(*FileStore); file {
		return nil
	}
	switch {
	case len(c.SealKeys) == 0:
		return fmt.Errorf("issue: KeyringConfig.SealKeys is empty: a store of type %T would hold the private keys unencrypted (only a FileStore may)", store)
	case c.Issuer == "":
		return fmt.Errorf("issue: KeyringConfig.Issuer is empty: it says which ring in a %T is meant (only a FileStore, which holds one, does without)", store)
	}
	if n := int(c.retireFor()/c.RotateEvery) + 3; n*c.storedBytes() > recordstore.MaxValueBytes {
		return fmt.Errorf("issue: KeyringConfig.RotateEvery is so short that a ring of %d keys would not fit into a record of %d bytes", n, recordstore.MaxValueBytes)
	}
	return nil
}

// storedBytes is what a new key takes in a sealed ring, generously.
func (c *KeyringConfig) storedBytes() int {
	if strings.HasPrefix(string(c.Algorithm), "E") {
		return 700
	}
	return 4 << 10 // RSA
}

func (c *KeyringConfig) check() error {
	refuse := func(field, why string, args ...any) error {
		return &token.ConfigError{Config: "issue.KeyringConfig", Field: field, Reason: fmt.Sprintf(why, args...)}
	}
	if c.Issuer != "" {
		if err := shape.CheckValue(c.Issuer); err != nil {
			return refuse("Issuer", "%v", err)
		}
	}
	switch {
	case !jose.Known(string(c.Algorithm)):
		return refuse("Algorithm", "%q is not supported", c.Algorithm)
	case jose.Symmetric(string(c.Algorithm)):
		return refuse("Algorithm", "%s has no public key: a secret cannot be published (NewKeyring takes one)", c.Algorithm)
	case c.MaxAge < time.Second || c.MaxAge > 24*time.Hour:
		return refuse("MaxAge", "is not between 1 s and 24 h")
	case c.RotateEvery < 0 || c.RotateEvery > revoke.MaxLifetime:
		return refuse("RotateEvery", "is not between 0 and 10 years")
	case c.AnnounceFor > c.RotateEvery:
		return refuse("AnnounceFor", "exceeds RotateEvery")
	case c.AnnounceFor < 3*c.MaxAge:
		return refuse("AnnounceFor", "is below 3 × MaxAge: a key would sign before every verifier knows it")
	case c.MaxSkew < 0 || c.MaxSkew > time.Hour:
		return refuse("MaxSkew", "is not between 0 and 1 h")
	case c.RotateEvery < c.AnnounceFor+c.MaxSkew:
		return refuse("RotateEvery", "is below AnnounceFor + MaxSkew, %s", c.AnnounceFor+c.MaxSkew)
	case c.TokenLifetime < time.Second || c.TokenLifetime > 90*24*time.Hour:
		return refuse("TokenLifetime", "is not between 1 s and 90 days")
	case c.retireFor()/c.RotateEvery+3 > shape.MaxKeys:
		return refuse("RotateEvery", "is so short that more than %d keys would be published", shape.MaxKeys)
	case c.RefreshInterval <= 0 || c.RefreshInterval > c.alone()/2:
		return refuse("RefreshInterval", "is not between 0 and %s, half of AnnounceFor − 2 × MaxAge", c.alone()/2)
	case c.InsecureOpenPlain && len(c.SealKeys) == 0:
		return refuse("InsecureOpenPlain", "is for a ring with SealKeys")
	case c.Revocations != nil && c.Issuer == "":
		return refuse("Issuer", "is empty: Revocations names keys by issuer")
	}
	for i, k := range c.SealKeys {
		switch {
		case k == nil || k.aead == nil:
			return refuse("SealKeys", "holds an empty key")
		case slices.ContainsFunc(c.SealKeys[:i], func(other *SealKey) bool { return other.id == k.id }):
			return refuse("SealKeys", "holds two keys named %q", k.id)
		}
	}
	if k := c.FirstKey; k != nil {
		if k.key == nil || jose.Symmetric(string(k.key.Algorithm())) {
			return refuse("FirstKey", "is no key pair")
		}
		if _, ok := k.signer.PKCS8(); !ok {
			return refuse("FirstKey", "is not in memory and cannot be stored (NewKeyring takes it)")
		}
	}
	return nil
}

// alone is how long an instance may use what it last read from the store: a key
// that others announced right after is not used by them for AnnounceFor, and what
// is served at the end is kept for up to 2 × MaxAge.
func (c *KeyringConfig) alone() time.Duration { return c.AnnounceFor - 2*c.MaxAge }

// storeLag is how old what a store shows may be: a leader that was deposed and has not
// heard of it answers with what it has.
const storeLag = 30 * time.Second

// ripeAfter is how long a key is announced by the clock of the instance that brings it on,
// which may be ahead of that of the instance that saw it announced.
func (c *KeyringConfig) ripeAfter() time.Duration { return c.AnnounceFor + c.MaxSkew + storeLag }

// retireFor is how long a key is published that signs no more. An instance that has
// not heard of it signs for alone(). Four clocks are involved, of which two may be
// ahead and two behind by half of MaxSkew each: who saw it retire and who drops it,
// who signed and who verifies.
func (c *KeyringConfig) retireFor() time.Duration {
	return c.alone() + storeLag + c.TokenLifetime + retiredMargin + 2*c.MaxSkew
}

// storeTimeout bounds one call of the store.
const storeTimeout = 10 * time.Second

func storeContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, storeTimeout)
}
