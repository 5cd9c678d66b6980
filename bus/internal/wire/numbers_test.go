package wire

import (
	"testing"
	"time"
)

// The numbers that WIRE.md, other languages and other versions rely on.
func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		"digestVersion":     {digestVersion, 1},
		"wireVersion":       {wireVersion, 1},
		"heartbeatTTL":      {HeartbeatTTL, "15m"},
		"maxMessageBytes":   {MaxMessageBytes, 65536},
		"maxEventBytes":     {MaxEventBytes, 61440},
		"maxHeartbeatBytes": {maxHeartbeatBytes, 2048},
		"maxNameBytes":      {MaxNameBytes, 128},
		"keyIDBytes":        {keyIDBytes, 12},
		"maxTrusted":        {maxTrusted, 16},
		"issuerHashSize":    {issuerHashSize, 16},
		"signaturePrefix":   {signaturePrefix, "hybridtoken revocation 1\x00"},
		"maxPlainDigits":    {maxPlainDigits, 15},
		"maxQuestionBytes":  {maxQuestionBytes, 512},
		"maxAnswerBytes":    {maxAnswerBytes, 2048},
		"maxReplicaID":      {maxReplicaID, 64},
		"maxReplyBytes":     {maxReplyBytes, 256},
		"maxAnswerWait":     {maxAnswerWait, 30 * time.Second},
		"maxSigning":        {maxSigning, 256},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, and %v is told", name, c.got, c.want)
		}
	}
}
