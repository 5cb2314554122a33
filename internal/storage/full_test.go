// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"

	"gregor/internal/vfs"
)

// TestNoRoomToCut: a cut for which the disk has no room leaves the log as it
// was. What is appended then survives a kill, and is durable when that is said.
func TestNoRoomToCut(t *testing.T) {
	t.Parallel()
	for what, rule := range map[string]vfs.Rule{
		"a new segment": {Ops: vfs.OpCreate, Path: "*.log"},
		"a rename":      {Ops: vfs.OpRename, Path: "00000000000000000003.log", Times: 1},
		"checkpoints":   {Ops: vfs.OpCreate, Path: "*-checkpoint.tmp"},
	} {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			full := vfs.NewFaulty(mem)
			c := LogConfig{Durable: true, SegmentBytes: 600}
			d, l := openOne(t, full, c)
			for range 6 {
				appendAt(t, l, simNow, 1)
			}
			if err := l.Flush(true); err != nil {
				t.Fatal(err)
			}
			d.sealAll()
			if err := d.writeCheckpoints(); err != nil {
				t.Fatal(err)
			}
			rule.Err = syscall.ENOSPC
			lift := full.Add(rule)
			if err := l.TruncateFully(0); !errors.Is(err, ErrNoSpace) {
				t.Errorf("no room for %s: %v", what, err)
			}
			lift()
			synctest.Wait()
			if l.End() != 6 || l.Flushed() != 6 {
				t.Fatalf("no room for %s: the log ends at %d, flushed up to %d", what, l.End(), l.Flushed())
			}
			appendAt(t, l, simNow, 1)
			if err := l.Flush(true); err != nil {
				t.Fatal(err)
			}
			d.Abandon()
			mem.Kill()
			d, l = openOne(t, mem, c)
			if l.End() != 7 || readAll(t, l, 0, 7) != 7 {
				t.Errorf("no room for %s: after a kill the log is [%d, %d)", what, l.Start(), l.End())
			}
			d.Abandon()
		})
	}
}
