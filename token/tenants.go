package token

import (
	"fmt"
	"strings"
)

// tenantMark stands in [VerifierConfig].Issuer for the tenant's GUID, as it does in the
// metadata and key sets of Microsoft Entra ID.
const tenantMark = "{tenantid}"

// tenants are the issuers of a service's tenants, which differ in a GUID. Nil is no such
// service: one issuer.
//
// A token of such an issuer is of the tenant that its tenant claim names, and of no other:
// iss must be the one issuer that this tenant has, and the key must be published for
// that tenant or for all. What revokes is published for, and compared with, that iss.
type tenants struct {
	before, after string
	accept        func(tenant string) bool
}

func newTenants(cfg *VerifierConfig) *tenants {
	if cfg.Profile.Tenants == nil {
		return nil
	}
	before, after, _ := strings.Cut(cfg.Issuer, tenantMark)
	return &tenants{before, after, cfg.Profile.Tenants}
}

// of returns the tenant that iss is the issuer of.
func (t *tenants) of(iss string) (tenant string, ok bool) {
	if len(iss) != len(t.before)+guidLength+len(t.after) || !strings.HasPrefix(iss, t.before) || !strings.HasSuffix(iss, t.after) {
		return "", false
	}
	tenant = iss[len(t.before) : len(t.before)+guidLength]
	return tenant, isGUID(tenant)
}

// judge says whether c is a token of a tenant that is accepted.
func (t *tenants) judge(c *Claims, tenantClaim string) error {
	tenant, ok := t.of(c.issuer)
	switch {
	case !ok:
		return fmt.Errorf("token: %w: iss is not %q with the GUID of a tenant", errIssuer, t.before+tenantMark+t.after)
	case c.tenant == "":
		return missing(tenantClaim)
	case c.tenant != tenant:
		return fmt.Errorf("token: %w: iss is not that of the tenant in %s", errIssuer, tenantClaim)
	case !t.accept(tenant):
		return fmt.Errorf("token: %w: Profile.Tenants does not accept the tenant", errIssuer)
	}
	return nil
}

// vouches refuses a key that is not published for iss. Each of the service's
// keys says whose it is; one that does not could be any tenant's.
func (t *tenants) vouches(key *Key, iss string) error {
	if t == nil || key.issuer != "" && namesIssuer(key.issuer, iss) {
		return nil
	}
	return fmt.Errorf("token: %w: the key is not published for the token's issuer", ErrUnknownKey)
}

const guidLength = 36

// isGUID reports whether s is a GUID in the one spelling that Entra has: small letters.
func isGUID(s string) bool {
	if len(s) != guidLength {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// validateTenants returns the field of cfg that is wrong and why, or "".
func validateTenants(c *VerifierConfig, tenantNamed bool) (field, why string) {
	n := strings.Count(c.Issuer, tenantMark)
	switch {
	case c.Profile.Tenants == nil && n > 0:
		return "Issuer", "holds " + tenantMark + ", and Profile.Tenants, which says whose tokens are accepted, is nil"
	case c.Profile.Tenants == nil:
		return "", ""
	case n != 1:
		return "Profile.Tenants", "is set, and Issuer does not hold " + tenantMark + " once"
	case c.OwnIssuer:
		return "OwnIssuer", "contradicts Profile.Tenants"
	case !tenantNamed:
		return "TenantClaim", "is empty, and Profile.Tenants asks for the claim that names the tenant"
	}
	return "", ""
}
