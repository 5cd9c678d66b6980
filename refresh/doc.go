// Package refresh keeps sessions: logins, rotating refresh tokens, logout everywhere.
package refresh
