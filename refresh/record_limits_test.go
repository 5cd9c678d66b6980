package refresh

import (
	"testing"
)

// A record of a session has at most so many steps and spans, hashes and seals of their length, times
// that can be, and generations before its own: at each limit it is read, one beyond it is not.
func TestSessionRecordsAtTheirLimits(t *testing.T) {
	hash := func(n int) []byte { return make([]byte, n) }
	sid := sidText([16]byte{3})
	good := func() *session {
		return &session{
			V: recordVersion, SID: sid, Subject: "u", Client: "web", Audience: []string{"api"}, Family: hash(32), Current: hash(32), Generation: 9, ExactFrom: 1,
			Steps: []step{{Hash: hash(32), Generation: 8, Seal: hash(sealBytes), Until: 5}}, Held: []span{{1, 2}}, Last: hash(32), LastGeneration: 8, LastAt: 4, Late: 1, LateAt: 3,
		}
	}
	for name, c := range map[string]struct {
		change func(*session)
		good   bool
	}{
		"as it is":                  {func(*session) {}, true},
		"no late retry":             {func(s *session) { s.Late = 0 }, true},
		"late retries below none":   {func(s *session) { s.Late = -1 }, false},
		"as many spans as may be":   {func(s *session) { s.Held = make([]span, maxSpans) }, true},
		"one more":                  {func(s *session) { s.Held = make([]span, maxSpans+1) }, false},
		"a span of a moment":        {func(s *session) { s.Held = []span{{7, 7}} }, true},
		"a span that ends first":    {func(s *session) { s.Held = []span{{7, 6}} }, false},
		"a span before 1970":        {func(s *session) { s.Held = []span{{-1, 6}} }, false},
		"a span to the end":         {func(s *session) { s.Held = []span{{1, maxMillis}} }, true},
		"a span beyond":             {func(s *session) { s.Held = []span{{1, maxMillis + 1}} }, false},
		"as many steps as may be":   {func(s *session) { s.Steps = repeated(s.Steps[0], maxSteps) }, true},
		"one step more":             {func(s *session) { s.Steps = repeated(s.Steps[0], maxSteps+1) }, false},
		"a step without a seal":     {func(s *session) { s.Steps[0].Seal = nil }, true},
		"a seal too short":          {func(s *session) { s.Steps[0].Seal = hash(sealBytes - 1) }, false},
		"a seal too long":           {func(s *session) { s.Steps[0].Seal = hash(sealBytes + 1) }, false},
		"a step's hash too short":   {func(s *session) { s.Steps[0].Hash = hash(31) }, false},
		"a step of today":           {func(s *session) { s.Steps[0].Generation = 9 }, false},
		"answers below none":        {func(s *session) { s.Steps[0].Answers = -1 }, false},
		"a step that never ends":    {func(s *session) { s.Steps[0].Until = maxMillis + 1 }, false},
		"a step to the end":         {func(s *session) { s.Steps[0].Until = maxMillis }, true},
		"no predecessor":            {func(s *session) { s.Last, s.LastGeneration = nil, 9 }, true},
		"a predecessor of today":    {func(s *session) { s.LastGeneration = 9 }, false},
		"its hash too short":        {func(s *session) { s.Last = hash(31) }, false},
		"its time before 1970":      {func(s *session) { s.LastAt = -1 }, false},
		"the late time beyond":      {func(s *session) { s.LateAt = maxMillis + 1 }, false},
		"a former family":           {func(s *session) { s.Former = hash(32) }, true},
		"a former one, too long":    {func(s *session) { s.Former = hash(33) }, false},
		"no family":                 {func(s *session) { s.Family = nil }, false},
		"no current generation":     {func(s *session) { s.Current = nil }, false},
		"no subject":                {func(s *session) { s.Subject = "" }, false},
		"no client":                 {func(s *session) { s.Client = "" }, false},
		"no audience":               {func(s *session) { s.Audience = nil }, false},
		"over, and nothing is left": {func(s *session) { *s = session{V: recordVersion, SID: sid, Ended: 1} }, true},
		"over, before 1970":         {func(s *session) { *s = session{V: recordVersion, SID: sid, Ended: -1} }, false},
		"another's":                 {func(s *session) { s.SID = sidText([16]byte{4}) }, false},
	} {
		s := good()
		c.change(s)
		b, err := encodeRecord(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeSession(b, sid); (err == nil) != c.good || (got == nil) == c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func repeated(x step, n int) (list []step) {
	for range n {
		list = append(list, x)
	}
	return list
}
