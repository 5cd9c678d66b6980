package layout_test

import (
	"testing"

	"github.com/hybridtoken/hybridtoken/internal/fenced"
)

// Each fenced block of each document is built or run by a test, or stands in a short list with
// the reason why nothing can run it.
func TestBlocksAreRun(t *testing.T) {
	documents, err := fenced.Read(root)
	if err != nil {
		t.Error(err)
	}
	n := 0
	for _, blocks := range documents.Pages {
		n += len(blocks)
		for _, end := range documents.LooseEnds(blocks) {
			t.Error(end)
		}
	}
	if n < 30 {
		t.Errorf("only %d blocks were found", n)
	}
}
