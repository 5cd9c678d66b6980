package forge

import (
	"embed"
	"encoding/json"
	"testing"
	"time"
)

//go:embed testdata
var written embed.FS

// Written returns a sample that the version before has written.
func Written(t *testing.T, name string) []byte {
	t.Helper()
	data, err := written.ReadFile("testdata/written-by-601627d/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// AboutWritten says when the samples were written, by the clock of a bubble as these
// tests have one, and which keys signed then.
func AboutWritten(t *testing.T) (at time.Time, active map[string]string) {
	t.Helper()
	var about struct {
		Written int64 `json:"written_ms"`
		Active  map[string]string
	}
	if err := json.Unmarshal(Written(t, "about.json"), &about); err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(about.Written), about.Active
}
