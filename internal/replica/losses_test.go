// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"testing"

	"gregor/internal/meta"
	"gregor/internal/vfs"
)

// TestPowerCutCostsNoDurableLog: what a broker says it lost costs its seats, so
// it must not say so of a log that holds all that it promised, and must of one
// that does not.
func TestPowerCutCostsNoDurableLog(t *testing.T) {
	t.Parallel()
	const log = "/data/d0/t-0/00000000000000000000.log"
	for _, c := range []struct {
		name    string
		durable bool
		homed   bool // the metadata name the directory
		records int
		while   func(*testing.T, *vfs.Mem) // the node is down
		lacks   bool
	}{
		{"whole", true, false, 9, func(*testing.T, *vfs.Mem) {}, false},
		{"in the page cache", false, true, 9, func(*testing.T, *vfs.Mem) {}, true},
		{"damaged", true, true, 9, func(t *testing.T, m *vfs.Mem) { flip(t, m, log, 100) }, true},
		{"cut short", true, true, 9, func(t *testing.T, m *vfs.Mem) { shorten(t, m, log) }, true},
		{"gone", true, true, 9, func(t *testing.T, m *vfs.Mem) { remove(t, m, "/data/d0/t-0") }, true},
		{"gone before its first record", true, true, 0, func(t *testing.T, m *vfs.Mem) { remove(t, m, "/data/d0/t-0") }, false},
		{"gone, and perhaps elsewhere", true, false, 0, func(t *testing.T, m *vfs.Mem) { remove(t, m, "/data/d0/t-0") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem() // without a boot id: each start is one after a power cut
			w := begin(t, mem, 1)
			p := w.topic(1, "t", 1, func(x *TopicConfig) { x.Log.Durable = c.durable })[0]
			if c.homed {
				x := ledBy(1, 1)
				x.Dirs = []meta.UUID{w.dirs[0].ID()}
				w.mustApply(meta.PartitionRecord{Topic: meta.UUID{1}, Index: 0, Partition: x})
			}
			for i := range c.records {
				w.produce(p, records(t, i, 1), -1)
			}
			w.kill()
			c.while(t, mem)
			w.start(1)
			if got := w.table.Losses(); (len(got) == 1) != c.lacks {
				t.Errorf("losses: %v", got)
			}
			if _, leads := w.table.Named("t", 0).LeaderEpoch(); leads {
				t.Error("it leads on in the epoch of before")
			}
			w.answerRaises()
			w.stop()
		})
	}
}

func shorten(t *testing.T, m *vfs.Mem, path string) {
	t.Helper()
	f, err := m.OpenRW(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(100); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, m *vfs.Mem, dir string) {
	t.Helper()
	if err := m.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// TestLostLogLeadsInNoEpochOfBefore: a node with a new disk follows the metadata
// from the beginning, through all the epochs in which it led. It must lead in
// none of them: what it would note of those is not what the others have.
func TestLostLogLeadsInNoEpochOfBefore(t *testing.T) {
	t.Parallel()
	w := begin(t, vfs.NewMem(), 1)
	w.table.settled.Store(false) // it has not registered yet
	p := w.topic(1, "t", 1, nil)[0]
	for epoch, leader := range []int32{1, 2, 1, 3, 1} {
		if epoch > 0 {
			w.elect(1, leader, int32(epoch))
		}
		if _, leads := p.LeaderEpoch(); leads || p.Log().LatestEpoch() >= 0 {
			t.Fatalf("epoch %d: leads %v, the log's latest is %d", epoch, leads, p.Log().LatestEpoch())
		}
	}
	if len(w.table.Losses()) != 1 {
		t.Error("the loss is not told")
	}
	w.table.Strays(w.img)
	w.elect(1, 2, 5)
	w.elect(1, 1, 6)
	if _, leads := p.LeaderEpoch(); !leads {
		t.Error("it does not lead in the epochs after")
	}
	w.stop()
}
