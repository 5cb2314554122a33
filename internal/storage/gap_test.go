// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"

	"gregor/internal/vfs"
)

// TestGapBeforeTheLastBatch: a replica of a topic that was compacted once, and
// is no more, has gaps. What lies behind one is not lost when the node is
// killed, and a base offset that is wrong is found all the same.
func TestGapBeforeTheLastBatch(t *testing.T) {
	t.Parallel()
	for _, flipped := range []bool{false, true} {
		mem := vfs.NewMem()
		d, l := openOne(t, mem, LogConfig{Durable: true})
		var size int64
		for _, base := range []int64{0, 16} {
			v := testBatch(3, simNow, 10)
			v.SetBaseOffset(base)
			if _, err := l.Append(v, Append{Origin: Replication}); err != nil {
				t.Fatal(err)
			}
			size = int64(len(v))
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		d.Abandon()
		mem.Kill()
		if flipped {
			flip(t, mem, "/data/t-0/00000000000000000000.log", size+6) // 16 becomes 80
		}
		_, l = openOne(t, mem, LogConfig{Durable: true})
		if damage := l.Recovery().Damage; len(damage) > 0 != flipped || l.End() != 19 {
			t.Fatalf("base offset flipped: %v; the log ends at %d, damage %v", flipped, l.End(), damage)
		}
		r, err := l.Read(16, 19, 1000, true)
		if (err != nil) != flipped {
			t.Fatalf("base offset flipped: %v; read: %v", flipped, err)
		}
		if err == nil {
			r.Release()
		}
	}
}
