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

// What one version writes another has to read: these numbers are of the format of the records,
// and one that becomes smaller makes records unreadable that are in the store.
func TestNumbersOfTheFormat(t *testing.T) {
	for name, c := range map[string][2]int64{
		"version": {recordVersion, 1}, "steps": {maxSteps, 16}, "spans": {maxSpans, 16}, "latest time": {maxMillis, 17_592_186_044_416},
		"sessions of a subject": {maxSessions, 1000}, "bytes of another version": {maxUnknownBytes, 4096}, "bytes of claims": {maxClaimsBytes, 16_384},
		"bytes of a device": {maxDeviceBytes, 256}, "bytes of a device's key": {maxBoundKey, 1024}, "bytes of its mark": {markBytes, 16}, "bytes of a tag": {tagBytes, 16},
		"bytes of a hash": {int64(len(digest{})), 32}, "bytes of a seal": {sealBytes, 60},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, want %d", name, c[0], c[1])
		}
	}
}

// A record of a subject, one bad member a row: at each limit it is read, one beyond it is not.
func TestSubjectRecordsAtTheirLimits(t *testing.T) {
	sid := func(n int) string { return sidText([16]byte{byte(n), byte(n >> 8)}) }
	many := func(n int) (list []live) {
		for i := range n {
			list = append(list, live{SID: sid(i), Until: 5})
		}
		return list
	}
	for name, c := range map[string]struct {
		change func(*subject)
		good   bool
	}{
		"as it is":                     {func(*subject) {}, true},
		"nothing at all":               {func(s *subject) { *s = subject{V: recordVersion} }, true},
		"a cutoff at the end":          {func(s *subject) { s.Cutoff = maxMillis }, true},
		"a cutoff beyond":              {func(s *subject) { s.Cutoff = maxMillis + 1 }, false},
		"a cutoff before 1970":         {func(s *subject) { s.Cutoff = -1 }, false},
		"a logout at the end":          {func(s *subject) { s.At = maxMillis }, true},
		"a logout beyond":              {func(s *subject) { s.At = maxMillis + 1 }, false},
		"a logout before 1970":         {func(s *subject) { s.At = -1 }, false},
		"an ending without its logout": {func(s *subject) { s.Op, s.Keep = "", nil }, false},
		"a keep without its logout":    {func(s *subject) { s.Op, s.Ending = "", nil }, false},
		"no logout":                    {func(s *subject) { s.Op, s.Ending, s.Keep = "", nil, nil }, true},
		"as many as may be":            {func(s *subject) { s.Live = many(maxSessions) }, true},
		"one more":                     {func(s *subject) { s.Live = many(maxSessions + 1) }, false},
		"as many as may end":           {func(s *subject) { s.Ending = many(maxSessions) }, true},
		"one more that ends":           {func(s *subject) { s.Ending = many(maxSessions + 1) }, false},
		"one that never ends":          {func(s *subject) { s.Live[0].Until = maxMillis + 1 }, false},
		"one until the end":            {func(s *subject) { s.Live[0].Until = maxMillis }, true},
		"one until before 1970":        {func(s *subject) { s.Live[0].Until = -1 }, false},
		"one that is none":             {func(s *subject) { s.Live[0].SID = "x" }, false},
		"an ending one that is none":   {func(s *subject) { s.Ending[0].SID = "" }, false},
		"an ending one never ends":     {func(s *subject) { s.Ending[0].Until = maxMillis + 1 }, false},
		"a session's id":               {func(s *subject) { s.kept = []kept{{"sid", `"` + sid(1) + `"`}} }, false},
		"what is not known":            {func(s *subject) { s.kept = []kept{{"sids", `"x"`}} }, true},
	} {
		s := &subject{V: recordVersion, Live: many(2), Cutoff: 7, Op: "x", At: 8, Keep: []string{sid(1)}, Ending: many(1)}
		c.change(s)
		b, err := encodeRecord(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeSubject(b); (err == nil) != c.good || (got == nil) == c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeSubject(seedSession(t)); err == nil {
		t.Error("a session is taken for a subject: a logout everywhere would be forgotten")
	}
	if _, err := decodeSession(seedSubject(t), ""); err == nil {
		t.Error("a subject is taken for a session")
	}
}
