package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"testing"
)

// Who may ask, may ask for an issuer that there is not: that costs as much where there are
// thousands as where there is one. Only issuers with tenants have to be tried one after the
// other.
func TestOneOfTriesThoseWithTenantsAlone(t *testing.T) {
	var all []*Verifier
	for i := range 3 {
		cfg := VerifierConfig{
			Issuer: fmt.Sprintf("https://%d.example.com", i), Audiences: []string{"api"}, Algorithms: []Algorithm{EdDSA}, Keys: keySetOf(t), InsecureNoRevocations: true,
		}
		if i == 1 {
			cfg.Issuer += "/" + tenantMark
			cfg.TenantClaim, cfg.Profile.Tenants = "tid", func(string) bool { return true }
		}
		v, err := NewVerifier(cfg)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	inner, err := OneOf(all...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := OneOf(inner)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.byTenant) != 1 || v.byTenant[0] != all[1].sole {
		t.Errorf("%d are tried for an issuer that there is not", len(v.byTenant))
	}
	if one := v.of("https://1.example.com/00000000-0000-0000-0000-000000000001"); one != all[1].sole {
		t.Errorf("the issuer of a tenant has the Verifier %v", one)
	}
	if one := v.of("https://3.example.com"); one != nil {
		t.Errorf("an issuer that there is not has the Verifier %v", one)
	}
}

func keySetOf(t *testing.T) *StaticKeySet {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey("", EdDSA, public)
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewStaticKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
