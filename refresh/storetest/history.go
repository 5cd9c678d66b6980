package storetest

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// An outcome is how a call ended.
type outcome int

const (
	unknown  outcome = iota // with an error that leaves all open
	done                    // saved or loaded
	conflict                // refused
	missing                 // not found
)

// An op is one call on one key, as the caller saw it. Every Save has another value.
type op struct {
	save              bool
	key               string
	base              uint64 // of a Save: the revision given
	value             string // saved or loaded
	revision          uint64 // returned, if done
	outcome           outcome
	invoked, returned time.Duration // since the history began
	fresh             bool          // a Load that must be right even if others may be stale
}

// verify reports why no order of the writes explains what the callers saw. Keys are
// independent of each other, and do not exist when the history begins. If stale is
// true, a Load may return what was replaced before it began.
func verify(ops []op, stale bool) error {
	byKey := map[string][]op{}
	for _, o := range ops {
		byKey[o.key] = append(byKey[o.key], o)
	}
	var errs []error
	for key, ops := range byKey {
		if err := verifyKey(ops, stale); err != nil {
			errs = append(errs, fmt.Errorf("key %s, %d calls: %w", key, len(ops), err))
		}
	}
	return errors.Join(errs...)
}

// A version is one value that the record had.
type version struct {
	op       *op           // the Save that wrote it
	from, to time.Duration // when that can have been, by what was seen of it
}

// verifyKey is exact. Each write names the revision that it replaced, so that the
// order of the writes is known, and each answer bounds the time at which one of them
// took effect from one side. What is left to find are times that rise within their
// bounds: the earliest possible are, or none.
func verifyKey(ops []op, stale bool) error {
	byValue := map[string]*op{}
	for i := range ops {
		if o := &ops[i]; o.save {
			if byValue[o.value] != nil {
				return fmt.Errorf("the test saved %q twice", o.value)
			}
			byValue[o.value] = o
		}
	}
	revisions := map[uint64]*op{} // by what was seen of it
	see := func(revision uint64, value string) error {
		w := byValue[value]
		switch {
		case revision == 0:
			return fmt.Errorf("%q has revision 0", value)
		case w == nil:
			return fmt.Errorf("%q was loaded and never saved", short(value))
		case w.outcome == conflict:
			return fmt.Errorf("%q was refused as a conflict, and written as revision %d", value, revision)
		case w.revision != 0 && w.revision != revision:
			return fmt.Errorf("%q has revisions %d and %d", value, w.revision, revision)
		case revisions[revision] != nil && revisions[revision] != w:
			return fmt.Errorf("revision %d was given to %q and %q", revision, revisions[revision].value, value)
		}
		w.revision = revision
		revisions[revision] = w
		return nil
	}
	told := map[uint64]time.Duration{} // when a revision was first given to a caller
	for _, o := range ops {
		if o.outcome == done {
			if err := see(o.revision, o.value); err != nil {
				return err
			}
			if t, ok := told[o.revision]; !ok || o.returned < t {
				told[o.revision] = o.returned
			}
		}
	}
	// A conflict says that the record has moved on from a revision, and not that it is
	// still to come to it: nobody saves over what he has not been told of.
	for _, o := range ops {
		if t, ok := told[o.base]; o.save && o.base != 0 && ok && t > o.invoked {
			return fmt.Errorf("the test gave revision %d at %s, which nobody was told before %s", o.base, o.invoked, t)
		}
	}

	next := map[uint64]*op{} // by the revision replaced
	for _, w := range revisions {
		if other := next[w.base]; other != nil {
			return fmt.Errorf("%q and %q both replaced revision %d: an update is lost", other.value, w.value, w.base)
		}
		next[w.base] = w
	}
	index := map[uint64]int{0: 0} // of versions, by revision
	versions := []version{{from: math.MinInt64, to: math.MaxInt64}}
	for w := next[0]; w != nil; w = next[w.revision] {
		v := version{op: w, from: w.invoked, to: math.MaxInt64} // a call that failed may take effect later
		if w.outcome == done {
			v.to = w.returned
		}
		index[w.revision] = len(versions)
		versions = append(versions, v)
	}
	if len(versions) != len(revisions)+1 {
		for _, w := range revisions {
			if _, ok := index[w.revision]; !ok && revisions[w.base] == nil {
				return fmt.Errorf("%q replaced revision %d, which nothing had", w.value, w.base)
			}
		}
		return errors.New("revisions replaced each other in a circle")
	}

	// A conflict with the last of them shows one more, that nobody saw.
	last := versions[len(versions)-1]
	for i := range ops {
		o := &ops[i]
		if !o.save || o.outcome != conflict || last.op != nil && o.base != last.op.revision || last.op == nil && o.base != 0 {
			continue
		}
		w := unconfirmed(ops, o.base)
		if w == nil {
			return fmt.Errorf("%q was refused as a conflict, though nothing replaced revision %d", o.value, o.base)
		}
		versions = append(versions, version{op: w, from: w.invoked, to: math.MaxInt64})
		break
	}

	for i := range ops {
		o := &ops[i]
		switch at := index[o.revision]; {
		case !o.save && (o.outcome == done || o.outcome == missing):
			versions[at].to = min(versions[at].to, o.returned)
			if at+1 < len(versions) && (!stale || o.fresh) {
				versions[at+1].from = max(versions[at+1].from, o.invoked)
			}
		case o.save && o.outcome == conflict:
			at, ok := index[o.base]
			if !ok {
				return fmt.Errorf("the test gave revision %d, which nothing had", o.base)
			}
			versions[at+1].to = min(versions[at+1].to, o.returned)
		}
	}
	at := versions[0].from
	for _, v := range versions[1:] {
		at = max(at, v.from)
		if at > v.to {
			return fmt.Errorf("%q, revision %d, was seen at %s, though something older was seen after that, or it was not saved yet, until %s",
				v.op.value, v.op.revision, v.to, at)
		}
	}
	return nil
}

// unconfirmed returns the first Save that failed, whose value nobody saw, and that can have
// replaced that revision.
func unconfirmed(ops []op, base uint64) *op {
	var first *op
	for i := range ops {
		o := &ops[i]
		if o.save && o.outcome == unknown && o.revision == 0 && o.base == base && (first == nil || o.invoked < first.invoked) {
			first = o
		}
	}
	return first
}
