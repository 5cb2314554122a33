// SPDX-License-Identifier: Apache-2.0

package clean

// Goal: a crash, an I/O error or a full disk in the middle of a cleaning costs
// no record. Method: the same log is cleaned again and again, with the fault
// at each of the file calls in turn; then it is opened anew and compared with
// the model.

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// prepare writes a log that is worth cleaning and stops cleanly.
func prepare(t *testing.T, seed uint64) (*vfs.Mem, *model) {
	t.Helper()
	mem := vfs.NewMem()
	d, l := openLog(t, mem, true, nil)
	m := newModel(t, seed, l)
	for range 80 {
		if err := m.step(); err != nil {
			t.Fatal(err)
		}
	}
	for p := range int64(9) {
		if txn := m.open[p]; txn != nil {
			if err := m.end(p, txn); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.SetHighWatermark(l.End())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return mem, m
}

// keepAll draws nothing: of a disk that is all synced the clone is a copy.
func keepAll(n int64) int64 { return min(1, n-1) }

// cleanOnce opens the log on fsys and cleans it until nothing is dirty. It
// returns the error that the cleaning met, if any.
func cleanOnce(t *testing.T, fsys vfs.FS) (touched int64, failed error) {
	t.Helper()
	d, err := storage.OpenDir(storage.DirConfig{FS: fsys, Path: "d", NodeID: 1, ClusterID: "c", IdleClose: time.Hour, RetentionInterval: -1})
	if err != nil {
		return 0, err
	}
	defer d.Abandon()
	l, err := d.Open(logName, topicID, storage.LogConfig{Compact: true, SegmentBytes: 2000, IndexInterval: 200,
		MinDirtyRatio: 0.01, DeleteRetention: time.Hour, FileDeleteDelay: -1})
	if err != nil {
		return 0, err
	}
	l.SetHighWatermark(l.End())
	c := New(Config{FS: fsys, Logs: func() []Log { return []Log{Of(l)} }, MapBytes: 100 * slotSize, BufferBytes: 500,
		Events: Events{
			Cleaned: func(_ Log, s Stats) { touched = max(touched, s.UpTo) },
			Failed:  func(_ Log, err error) { failed = err },
		}})
	w := c.NewWorker()
	for range 20 { // a failing disk may refuse for ever
		if !w.Step(context.Background()) {
			break
		}
	}
	if failed == nil {
		failed = d.Err()
	}
	return touched, failed
}

// reopen checks a disk as a crash left it.
func (m *model) reopen(t *testing.T, mem *vfs.Mem, what string) {
	t.Helper()
	d, l := openLog(t, mem, false, nil)
	defer d.Abandon()
	m.t, m.log = t, l
	l.SetHighWatermark(l.End())
	m.check(0, l.End(), true)
	if t.Failed() {
		t.Fatal(what)
	}
}

func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1) {
		mem, m := prepare(t, seed)
		end := int64(0)
		for o := range m.bounds {
			end = max(end, m.bounds[o].LastOffset()+1)
		}
		calls, crashes := int64(1<<40), 0
		for call := int64(1); call <= calls; call++ {
			disk := mem.CrashClone(keepAll)
			faulty := vfs.NewFaulty(disk)
			var after []*vfs.Mem
			// Calls that only read leave the disk as the one before did.
			faulty.Add(vfs.Rule{Ops: vfs.AnyChange, From: call, Times: 1, Before: func(vfs.Call) {
				for c := range uint64(2) {
					after = append(after, disk.CrashClone(rand.New(rand.NewPCG(seed, c)).Int64N))
				}
			}})
			if _, err := cleanOnce(t, faulty); err != nil {
				t.Fatal(err)
			}
			if after == nil {
				calls = call - 1 // the run has no more
			}
			crashes += len(after)
			for _, a := range after {
				m.reopen(t, a, "")
				if m.log.End() != end {
					t.Fatalf("seed %d, crash before change %d: log ends at %d, not %d", seed, call, m.log.End(), end)
				}
				// The next life finishes the work.
				if _, err := cleanOnce(t, a); err != nil {
					t.Fatalf("seed %d, after the crash before change %d: %v", seed, call, err)
				}
				m.reopen(t, a, "cleaned again")
			}
		}
		if calls < 20 {
			t.Fatalf("only %d changes: nothing was cleaned", calls)
		}
	}
}

func TestErrorAtEveryCall(t *testing.T) {
	t.Parallel()
	mem, m := prepare(t, 5)
	failures := 0
	for call := int64(1); ; call++ {
		disk := mem.CrashClone(keepAll)
		faulty := vfs.NewFaulty(disk)
		faulty.FailCall(call, vfs.AnyOp&^vfs.OpClose, syscall.EIO, call%2 == 0)
		if _, err := cleanOnce(t, faulty); err != nil {
			failures++
		}
		done := faulty.Calls() < call
		disk.Kill()
		m.reopen(t, disk, "after an error")
		if done {
			break
		}
	}
	if failures < 20 {
		t.Fatalf("only %d runs noticed", failures)
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	mem, m := prepare(t, 7)
	for space := int64(0); space < 6000; space += 150 {
		disk := mem.CrashClone(keepAll)
		faulty := vfs.NewFaulty(disk)
		faulty.Limit(space)
		if _, err := cleanOnce(t, faulty); err != nil && !errors.Is(err, storage.ErrNoSpace) && !vfs.IsNoSpace(err) && !errors.Is(err, storage.ErrDirFailed) {
			t.Fatalf("%d bytes left: %v", space, err)
		}
		disk.Kill()
		m.reopen(t, disk, "after a full disk")
		faulty.Clear()
		if _, err := cleanOnce(t, disk); err != nil {
			t.Fatal(err)
		}
		disk.Kill()
		m.reopen(t, disk, "with room again")
	}
}
