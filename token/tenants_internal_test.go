package token

import "testing"

// A tenant is a GUID in the one spelling that Entra has: with a character too many or too few, of
// another sort, or a dash elsewhere it is none.
func TestTenantsAreGUIDs(t *testing.T) {
	const good = "0123abcd-ef45-6789-abcd-ef0123456789"
	in := tenants{before: "https://login.example.com/", after: "/v2.0"}
	judge := func(tenant string, want bool) {
		t.Helper()
		if isGUID(tenant) != want {
			t.Errorf("%q: GUID %t, want %t", tenant, !want, want)
		}
		if got, ok := in.of(in.before + tenant + in.after); ok != want || want && got != tenant {
			t.Errorf("issuer of %q: %q, %t", tenant, got, ok)
		}
	}
	judge(good, true)
	judge("", false)
	judge(good[1:], false)
	judge(good+"0", false)
	for i := range good {
		for _, c := range []byte("-/:`gAF@ \x00") {
			if b := []byte(good); b[i] != c {
				b[i] = c
				judge(string(b), false)
			}
		}
		if good[i] != '-' {
			for _, c := range []byte("09af") {
				b := []byte(good)
				b[i] = c
				judge(string(b), true)
			}
		}
	}
	for _, iss := range []string{in.before + good, good + in.after, "https://login.example.org/" + good + in.after, in.before + good + "/v2.1", in.before + good + in.after + "/"} {
		if tenant, ok := in.of(iss); ok {
			t.Errorf("%q: tenant %q", iss, tenant)
		}
	}
}
