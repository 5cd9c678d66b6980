package replica_test

import (
	"testing"
	"time"

	"github.com/hybridtoken/hybridtoken/internal/replica"
	"github.com/hybridtoken/hybridtoken/internal/replica/tape"
)

// A member silenced by others' digests sends none of its own, and one that only old
// versions beat beside goes on.
func TestWhoSilences(t *testing.T) {
	for _, c := range []struct {
		name    string
		attests bool
		says    func(replica.Digest) *replica.Digest
		silent  bool
	}{
		{"agrees", true, truth, true},
		{"differs", true, lie, false},
		{"without", true, nothing, false},
		{"cannot tell", true, func(replica.Digest) *replica.Digest { return new(replica.Digest) }, false},
		{"agrees, for one that does not attest", false, truth, true},
		{"differs, for one that does not attest", false, lie, false},
		{"without, for one that does not attest", false, nothing, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, l := tape.Ready(t)
			if c.attests {
				r.Feed.Attest()
			}
			beats := 0
			for range 100 {
				r.Pass(time.Second)
				d := r.Feed.Digest()
				if d == (replica.Digest{}) {
					t.Fatal("no digest")
				}
				r.DigestBeat(l, c.says(d))
				r.Must(r.Read(l))
				if r.Feed.BeatIn(r.Now) == 0 {
					beats++
				}
			}
			if c.silent && beats > 1 || !c.silent && beats < 33 {
				t.Errorf("%d beats of its own", beats)
			}
		})
	}
}

// A digest of old, which agrees and proves nothing new, silences nobody either.
func TestOldDigestSilencesNobody(t *testing.T) {
	r, l := tape.Ready(t)
	r.Feed.Attest()
	r.Pass(time.Second)
	r.Beat(l)
	r.Must(r.Read(l))
	old, beats := r.Feed.Digest(), 0
	for i := range 100 {
		r.Pass(time.Second)
		r.DigestBeat(l, &old)
		r.Must(r.Read(l))
		if r.Feed.BeatIn(r.Now) == 0 && i > 10 {
			beats++
		}
	}
	if s := r.Stats(); beats < 30 || s.Agreed < 100 {
		t.Errorf("%d beats of its own, %d agreed", beats, s.Agreed)
	}
}

// Behind a mirror a member sends no digest, and leaves the beating to those at the origin
// for three intervals.
func TestMirrorBeatsLate(t *testing.T) {
	m, _, _ := behind(t)
	m.Feed.Attest()
	if d := m.Feed.Digest(); d != (replica.Digest{}) {
		t.Errorf("attests %+v", d)
	}
	m.Pass(m.Feed.BeatIn(m.Now)) // perhaps of the reading before
	if d := m.Feed.BeatIn(m.Now); d < 3*time.Second || d > 4*time.Second {
		if d = m.Feed.BeatIn(m.Now); d < 3*time.Second || d > 4*time.Second {
			t.Errorf("beats in %s", d)
		}
	}
}
