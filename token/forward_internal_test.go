package token

import (
	"net/http"
	"slices"
	"testing"
)

// statuses notes which were written, and with which challenges.
type statuses struct {
	header http.Header
	list   []int
	asked  [][]string
}

func (s *statuses) Header() http.Header { return s.header }

func (s *statuses) WriteHeader(status int) {
	s.list = append(s.list, status)
	s.asked = append(s.asked, slices.Clone(s.header["Www-Authenticate"]))
}

func (s *statuses) Write(b []byte) (int, error) { return len(b), nil }

// Whatever a handler writes, challenges become one header, in the final status that it writes or,
// if it writes none, in 200, and no status is written twice on its behalf.
func TestOneChallengeInTheFinalStatus(t *testing.T) {
	for name, c := range map[string]struct {
		write func(http.ResponseWriter)
		want  []int
	}{
		"only a body":         {func(w http.ResponseWriter) { w.Write(nil); w.Write(nil) }, []int{200}},
		"200 and a body":      {func(w http.ResponseWriter) { w.WriteHeader(200); w.Write(nil) }, []int{200}},
		"201 and a body":      {func(w http.ResponseWriter) { w.WriteHeader(201); w.Write(nil); w.Write(nil) }, []int{201}},
		"401 and a body":      {func(w http.ResponseWriter) { w.WriteHeader(401); w.Write(nil) }, []int{401}},
		"a hint and a body":   {func(w http.ResponseWriter) { w.WriteHeader(103); w.Write(nil) }, []int{103, 200}},
		"199 and a body":      {func(w http.ResponseWriter) { w.WriteHeader(199); w.Write(nil) }, []int{199, 200}},
		"a hint, 401, a body": {func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(401); w.Write(nil) }, []int{103, 401}},
	} {
		s := &statuses{header: http.Header{"Www-Authenticate": {"Bearer a", "DPoP b"}}}
		w := &oneChallenge{ResponseWriter: s}
		c.write(w)
		if !slices.Equal(s.list, c.want) {
			t.Errorf("%s: %v, want %v", name, s.list, c.want)
		}
		if last := s.asked[len(s.asked)-1]; !slices.Equal(last, []string{"Bearer a, DPoP b"}) {
			t.Errorf("%s: challenges %q", name, last)
		}
		if w.Unwrap() != http.ResponseWriter(s) {
			t.Errorf("%s: http.ResponseController does not find what is below", name)
		}
	}
}
