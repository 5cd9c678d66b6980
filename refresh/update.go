package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// An update changes a record by compare-and-set, and finds out whether it did.
type update[R interface {
	comparable
	record
}] struct {
	// before is called before each try, which are counted from zero. Nil: nothing is.
	before func(try int) error

	// load reads the record.
	load func(context.Context) (R, error)

	// change returns what the record is to become, or the record itself if nothing is to be
	// written. An error ends the update, but for ErrConflict, which has the record read anew.
	change func(R) (R, error)

	// landed is asked about a write that the store did not confirm, if the record has changed
	// since it was read. It compares the record with what was written: nil says that it was
	// written, ErrConflict that it never will be, and any other error that nobody can tell.
	// Without it nobody can.
	landed func(found, written R) error

	// repeat says that to write twice does no harm, so that a write that was not confirmed is
	// simply tried again.
	repeat bool

	// budget is what each access to the store may take, whatever becomes of the caller. Zero:
	// the caller's context bounds them.
	budget time.Duration
}

// errUnsure is of ErrStore: a write that may have happened, and may happen yet.
var errUnsure error = &member{ErrStore, "session store did not confirm"}

// do returns the record as it is now. Where others change it all the time, the error is
// errBusy.
func (u update[R]) do(ctx context.Context, m *Manager) (R, error) {
	var none R
	var unsure error // the last write, if it is repeated
	for try := range maxTries {
		if u.before != nil {
			if err := u.before(try); err != nil {
				return none, err
			}
		}
		r, err := u.read(ctx)
		if err != nil {
			return none, errors.Join(unsure, err)
		}
		next, err := u.change(r)
		if err == nil && next != r {
			next, err = u.write(ctx, m, r, next)
		}
		switch {
		case err == nil:
			return next, nil
		case errors.Is(err, ErrConflict):
		case u.repeat && errors.Is(err, errUnsure) && ctx.Err() == nil:
			unsure = err
		default:
			return none, err
		}
	}
	if unsure != nil {
		return none, unsure
	}
	return none, errBusy
}

func (u update[R]) read(ctx context.Context) (R, error) {
	ctx, cancel := u.bound(ctx)
	defer cancel()
	return u.load(ctx)
}

// write writes next in place of r. ErrConflict says that another write came first, and this
// one never will.
func (u update[R]) write(ctx context.Context, m *Manager, r, next R) (R, error) {
	ctx, cancel := u.bound(ctx)
	defer cancel()
	err := m.save(ctx, next)
	if err == nil || errors.Is(err, ErrConflict) {
		return next, err
	}
	err = fmt.Errorf("%w: %w", errUnsure, err)
	if u.landed == nil {
		return next, err
	}
	found, failed := u.load(ctx)
	if failed != nil || found.where().revision == r.where().revision {
		return next, err
	}
	switch failed := u.landed(found, next); {
	case failed == nil:
		return found, nil
	case errors.Is(failed, ErrConflict):
		return next, failed
	}
	return next, err
}

func (u update[R]) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if u.budget == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(detach(ctx), u.budget)
}

// beginning returns load, which is spared the first time: r was read a moment ago.
func beginning[R any](r R, load func(context.Context) (R, error)) func(context.Context) (R, error) {
	read := true
	return func(ctx context.Context) (R, error) {
		if read {
			read = false
			return r, nil
		}
		return load(ctx)
	}
}

// backingOff waits before each try but the first. The error is of that kind.
func (m *Manager) backingOff(ctx context.Context, kind error) func(try int) error {
	return func(try int) error {
		if try == 0 {
			return nil
		}
		if err := m.backOff(ctx, try-1); err != nil {
			return fmt.Errorf("%w: %w", kind, err)
		}
		return nil
	}
}

// maxTries bounds how often a call reads anew what others have changed meanwhile.
const maxTries = 16
