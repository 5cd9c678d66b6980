// Package placeholder finds what people configure in place of a secret.
package placeholder

import (
	"bytes"
	"regexp"
	"strings"
)

// What people configure in place of a secret: where it is, what it is called, or that it
// is yet to be chosen. Anyone who reads the configuration, or guesses, could sign tokens.
//
// What is random is not mistaken for one of these: the chance of a text of 32 random
// characters to have any of these forms, as bytes, hex, base32, base64, Ascii85 or of a
// password generator, is below one in ten million.
var (
	// A path from this folder, from home, or from a root or drive by what usually stands
	// there, with one character that base64 does not write beside a slash.
	rooted = regexp.MustCompile(`(?i)^(\.{1,2}/|~/|/(etc|run|var|home|users|opt|srv|secrets?|mnt|app|usr|tmp|root|private|data|config|vault|keys?|certs?|media|workspace|builds?|proc|dev|library|volumes)/|[a-z]:[\\/]+(users|programdata|program files|windows|secrets?|keys?|config|app|data|temp|inetpub)[\\/])[a-z0-9/\\._~ -]*$`)
	plain  = regexp.MustCompile(`^[A-Za-z0-9/]*$`)
	path   = regexp.MustCompile(`^[A-Za-z0-9/\\:._~ -]*$`)
	// A path of small letters alone: random base64 has capital ones among them.
	small = regexp.MustCompile(`^[a-z0-9._~-]*(/[a-z0-9._~-]+)+/?$`)
	// What says where to look.
	reference = regexp.MustCompile(`^(ref\+)?(https?|file|vault|env|ssm|s3|gs|op|akv|azkv|keyvault|gcpsm|awssm|kms|k8s|consul|sops|secret)://|^(arn|urn|vault|env|ssm|awssm|gcpsm|akv|sops|secret|secretref|keyvault|kms):[A-Za-z0-9/_.#:-]+$|^projects/[^/]+/secrets/`)
	// The name of a variable, as it is or in the signs that have it replaced.
	variable = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$|^%[A-Z_][A-Z0-9_]*%$|^\$[A-Z_][A-Z0-9_]*$|^\$\{[A-Za-z0-9_.:/-]+\}$|^\$\([A-Za-z0-9 /._|$-]+\)$|^\{\{[ -~]+\}\}$|^<[A-Za-z0-9 _.-]+>$|^\[[A-Za-z0-9 _.-]+\]$|^%\([a-z_]+\)s$|^!vault|^\$ANSIBLE_VAULT|^ENC\[[A-Z0-9_]+,`)
	// Words for "none yet", of at least eight letters, in letters alone.
	placeholders = []string{
		"changeme", "changethis", "changeit", "changebefore", "replaceme", "replacethis", "replacewith", "insertyour", "insertsecret", "putyour", "enteryour",
		"yoursecret", "yourjwt", "yoursigning", "yourkey", "yoursuper", "yourbit", "yourrandom", "placeholder", "supersecret", "verysecret", "topsecret", "mysecret", "notasecret",
		"thisisasecret", "thisisnot", "jwtsecret", "hmacsecret", "signingsecret", "secretkey", "secretgoeshere", "defaultsecret", "testsecret", "devsecret", "developmentonly", "donotuse",
		"insecure", "redacted", "examplekey", "examplesecret", "sharedsecret", "passwordpassword", "letmein", "todotodo", "somesecret", "somerandom", "randomstring", "longenough", "atleastbytes", "characterslong",
	}
)

// StandsFor says what text is in place of a secret, or "".
func StandsFor(secret []byte) string {
	text := string(bytes.TrimSpace(secret))
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "" // bytes, or nothing that a configuration holds
	}
	lower := strings.ToLower(text)
	for _, ext := range []string{".pem", ".key", ".jwk", ".jwks", ".json", ".der", ".pub", ".crt", ".cer", ".p12", ".pfx", ".txt", ".yaml", ".yml", ".env", ".conf", ".secret"} {
		if strings.HasSuffix(lower, ext) && path.MatchString(text) {
			return "the name of a file, not what is in it"
		}
	}
	switch {
	case rooted.MatchString(text) && !plain.MatchString(text), small.MatchString(text), strings.HasPrefix(lower, "file:"):
		return "the name of a file, not what is in it"
	case reference.MatchString(text):
		return "where a secret is, not what is there"
	case variable.MatchString(text):
		return "the name of a variable or a template, not what it stands for"
	}
	letters := strings.Map(func(c rune) rune {
		if c < 'a' || c > 'z' {
			return -1
		}
		return c
	}, lower)
	for _, p := range placeholders {
		if strings.Contains(letters, p) {
			return "a placeholder, known to everybody"
		}
	}
	return ""
}
