// Package rollcall tests revocations that every replica confirms.
package rollcall
