package revoke

import "testing"

// An entry lives until the end of the second that it names (invariant 3), in the table as
// in the memtable.
func TestEntryLivesThroughItsLastSecond(t *testing.T) {
	e := entry{id: digest{7, idLow}, kind: KindSession, before: 1 << 40, until: 100}
	mem := newMemtable(1)
	mem.put(e)
	table, _ := newTable(e.kind).merge(func(list []entry, first, last uint64) []entry { return mem.between(list, e.kind, first, last) }, 1, 0, 8, nil)
	for live, want := range map[uint32]bool{99: true, 100: true, 101: false} {
		if got := table.revokes(e.id, live, 0, digest{}, false); got != want {
			t.Errorf("table, at %d: %t", live, got)
		}
		if got := mem.revokes(e.id, live, 0, digest{}, false); got != want {
			t.Errorf("memtable, at %d: %t", live, got)
		}
	}
}
