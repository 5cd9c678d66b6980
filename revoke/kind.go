package revoke

import "fmt"

// A Kind says what an [Event] names: one token, one session, or everything
// issued to a subject, a client, a tenant, under a key or by an issuer.
type Kind uint8

// The kinds of revocation. The zero Kind is invalid.
const (
	KindToken   Kind = iota + 1 // Value is a jti: that token
	KindSession                 // Value is a sid: every token of that session
	KindSubject                 // Value is a sub: tokens with iat ≤ Before, but for sessions in Keep
	KindClient                  // Value is a client_id: tokens with iat ≤ Before
	KindTenant                  // Value is a tenant: tokens with iat ≤ Before
	KindKey                     // Value is an RFC 7638 thumbprint: every token verified with that key
	KindIssuer                  // Value is empty: every token with iat ≤ Before
)

// kinds is one more than the largest Kind; arrays indexed by Kind have this length.
const kinds = int(KindIssuer) + 1

var kindNames = [kinds]string{
	KindToken: "token", KindSession: "session", KindSubject: "subject", KindClient: "client",
	KindTenant: "tenant", KindKey: "key", KindIssuer: "issuer",
}

// valueNames are the claims that a Value is compared with.
var valueNames = [kinds]string{KindToken: "jti", KindSession: "sid", KindSubject: "sub", KindClient: "client_id", KindTenant: "tenant"}

// String returns the wire name of k, such as "session".
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// parseKind returns the kind with that wire name.
func parseKind(name string) (Kind, bool) {
	for k := KindToken; k <= KindIssuer; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// Mass reports whether one event of kind k can revoke the tokens of more than
// one session.
func (k Kind) Mass() bool { return k >= KindSubject && k <= KindIssuer }

// Cutoff reports whether k revokes by time: tokens with iat ≤ Before.
func (k Kind) Cutoff() bool {
	return k == KindSubject || k == KindClient || k == KindTenant || k == KindIssuer
}

func (k Kind) valid() bool { return k >= KindToken && k <= KindIssuer }
