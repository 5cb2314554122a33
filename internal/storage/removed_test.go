// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"gregor/internal/vfs"
)

// A segment of a log that is removed meanwhile may still be sealed, and leaves
// nothing behind that is taken for a promise of the next log of that name.
func TestRemovedLogLeavesNoPoint(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := openTestDir(t, mem, "/data", Events{})
	name := Name{"t", 0}
	grow := func(l *Log, n int) {
		t.Helper()
		for range n {
			v := testBatch(1, 1000, 100)
			v.SetBaseOffset(l.End())
			if _, err := l.Append(v, Append{Origin: Replication}); err != nil {
				t.Fatal(err)
			}
		}
	}
	future := func() *Log {
		t.Helper()
		l, err := d.OpenFuture(name, testID, LogConfig{Create: true, SegmentBytes: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	d.sealing <- struct{}{} // the keeper is slow
	grow(future(), 100)
	if err := d.DropFuture(name); err != nil {
		t.Fatal(err)
	}
	<-d.sealing
	d.sealAll()
	l := future()
	grow(l, 3)
	d.Abandon()
	d = openTestDir(t, mem, "/data", Events{})
	l = future()
	if r := l.Recovery(); l.End() != 3 || len(r.Damage) > 0 {
		t.Errorf("the log ends at %d, not 3; damage %v", l.End(), r.Damage)
	}
}
