// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/batch"
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

// TestNoRoomToSwap: a cleaned segment for which the disk has no room in the
// middle of its swap leaves nothing behind. A later start took it for the end
// of a swap, and what had become of its segments since then was gone.
func TestNoRoomToSwap(t *testing.T) {
	t.Parallel()
	for _, step := range []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} {
		mem := vfs.NewMem()
		full := vfs.NewFaulty(mem)
		c := LogConfig{Durable: true, SegmentBytes: 600, Compact: true, FileDeleteDelay: -1}
		d, l := openOne(t, full, c)
		for range 9 {
			appendAt(t, l, simNow, 1)
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		l.SetHighWatermark(9)
		d.sealAll()
		lift := full.Add(vfs.Rule{Ops: vfs.OpRename, From: step, Times: 1, Err: syscall.ENOSPC})
		err := cleanSome(l)
		lift()
		if err == nil {
			d.Abandon()
			continue
		}
		if !errors.Is(err, ErrNoSpace) || d.Err() != nil {
			t.Fatal(err, d.Err())
		}
		if n := readAll(t, l, 0, 9); n != 9 {
			t.Errorf("step %d: read up to %d", step, n)
		}
		// The first segment goes, and the second is merged with the third.
		if err := l.IncrementStart(3); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Retain(time.UnixMilli(simNow)); err != nil {
			t.Fatal(err)
		}
		appendAt(t, l, simNow, 3)
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		wantBases(t, l, 3, 6, 9)
		l.SetHighWatermark(12)
		d.sealAll()
		out, err := l.NewCleaned(3)
		if err != nil {
			t.Fatal(err)
		}
		for _, base := range []int64{3, 6} {
			copyTo(t, l, base, out)
		}
		if err := l.Replace([]int64{3, 6}, out); err != nil {
			t.Fatal(err)
		}
		d.Abandon()
		mem.Kill()
		d, l = openOne(t, mem, c)
		if n := readAll(t, l, 3, 12); n != 12 {
			t.Errorf("step %d: after a kill read up to %d", step, n)
		}
		d.Abandon()
	}
}

// copyTo copies a segment into a cleaned one.
func copyTo(t *testing.T, l *Log, base int64, out *Cleaned) {
	t.Helper()
	f, n, release, err := l.OpenSegment(base)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		v, rest, err := batch.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Append(v); err != nil {
			t.Fatal(err)
		}
		b = rest
	}
}
