package token

// A ConfigError is the error of a constructor that refuses its configuration: the field
// to blame, and why. Find it with errors.As.
type ConfigError struct {
	Config string // the struct's name, with its package: "token.VerifierConfig"
	Field  string // of the struct, or of one in it: "Profile.Optional"
	Reason string
	Err    error // that Reason tells of, or nil
}

// Error says all of it.
func (e *ConfigError) Error() string {
	pkg, name := "token", e.Config
	for i := range len(name) {
		if name[i] == '.' {
			pkg, name = name[:i], name[i+1:]
			break
		}
	}
	return pkg + ": " + name + "." + e.Field + " " + e.Reason
}

// Unwrap returns Err.
func (e *ConfigError) Unwrap() error { return e.Err }
