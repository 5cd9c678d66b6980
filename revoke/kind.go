package revoke

import "fmt"

// A Kind says what an [Event] names: one token, one session, or everything
// issued to a subject, a client, a tenant, under a key or by an issuer.
type Kind uint8

// The kinds of revocation. The zero Kind is invalid.
const (
	Token   Kind = iota + 1 // Value is a jti: that token
	Session                 // Value is a sid: every token of that session
	Subject                 // Value is a sub: tokens with iat ≤ Before, but for sessions in Keep
	Client                  // Value is a client_id: tokens with iat ≤ Before
	Tenant                  // Value is a tenant: tokens with iat ≤ Before
	Key                     // Value is an RFC 7638 thumbprint: every token verified with that key
	Issuer                  // Value is empty: every token with iat ≤ Before
)

// kinds is one more than the largest Kind; arrays indexed by Kind have this length.
const kinds = int(Issuer) + 1

var kindNames = [kinds]string{
	Token: "token", Session: "session", Subject: "subject", Client: "client",
	Tenant: "tenant", Key: "key", Issuer: "issuer",
}

// valueNames are the claims that a Value is compared with.
var valueNames = [kinds]string{Token: "jti", Session: "sid", Subject: "sub", Client: "client_id", Tenant: "tenant"}

// Kinds returns the seven kinds, in their numeric order.
func Kinds() []Kind {
	return []Kind{Token, Session, Subject, Client, Tenant, Key, Issuer}
}

// String returns the wire name of k, such as "session".
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// ParseKind returns the kind with that wire name.
func ParseKind(name string) (Kind, bool) {
	for k := Token; k <= Issuer; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// Mass reports whether one event of kind k can revoke the tokens of more than
// one session.
func (k Kind) Mass() bool { return k >= Subject && k <= Issuer }

// Cutoff reports whether k revokes by time: tokens with iat ≤ Before.
func (k Kind) Cutoff() bool {
	return k == Subject || k == Client || k == Tenant || k == Issuer
}

func (k Kind) valid() bool { return k >= Token && k <= Issuer }
