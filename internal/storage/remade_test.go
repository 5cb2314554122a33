// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"gregor/internal/vfs"
)

// TestRemadeLogStartsAnew: a log that gets the name of one that was deleted has
// nothing of its offsets after a kill or a power cut, though the checkpoints
// were written before the deletion.
func TestRemadeLogStartsAnew(t *testing.T) {
	t.Parallel()
	for _, records := range []int64{0, 3} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		appendAt(t, l, simNow, 100)
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(100)
		if err := l.IncrementStart(50); err != nil {
			t.Fatal(err)
		}
		if err := d.writeCheckpoints(); err != nil {
			t.Fatal(err)
		}
		if err := d.Delete(l.Name()); err != nil {
			t.Fatal(err)
		}
		id := testID
		id[0]++
		l, err := d.Open(l.Name(), id, LogConfig{Create: true, Durable: true})
		if err != nil {
			t.Fatal(err)
		}
		if records > 0 {
			appendAt(t, l, simNow, int(records))
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		cut := mem.CrashClone(func(int64) int64 { return 0 }) // what was synced
		d.Abandon()
		mem.Kill()
		for what, after := range map[string]*vfs.Mem{"kill": mem, "power cut": cut} {
			if records == 0 && after == cut {
				continue // it was not promised to be there
			}
			d := openTestDir(t, after, "/data", Events{})
			l, err := d.Open(l.Name(), id, LogConfig{Durable: true})
			if err != nil {
				t.Fatal(err)
			}
			if l.Start() != 0 || l.End() != records || len(l.Recovery().Damage) > 0 {
				t.Errorf("after a %s the log of %d records is [%d, %d), damaged: %v", what, records, l.Start(), l.End(), l.Recovery().Damage)
			}
			d.Abandon()
		}
	}
}
