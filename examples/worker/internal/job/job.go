// Package job is what stands in the queue of the example worker.
package job

import (
	"encoding/json"
	"errors"

	"github.com/hybridtoken/hybridtoken/revoke"
)

// A Job says who asked as the denylist knows them, and holds no token: who reads the queue can do
// nothing with it. Who may write to the queue can have jobs done in anybody's name: only the
// application has that right.
type Job struct {
	Report string          `json:"report"`
	For    revoke.Identity `json:"for"`
}

// Read refuses what is no job. Whose it is, and whether they may, is not looked at.
func Read(data []byte) (j Job, err error) {
	if err := json.Unmarshal(data, &j); err != nil {
		return Job{}, errors.New("no job")
	}
	if j.Report == "" {
		return Job{}, errors.New("a job without a report")
	}
	return j, nil
}
