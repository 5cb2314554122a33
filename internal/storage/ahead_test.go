// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// commitSingly appends n batches of one record, each a commit of its own.
func commitSingly(t *testing.T, l *Log, n int) {
	t.Helper()
	for range n {
		if _, err := l.Append(testBatch(1, simNow, 20), Append{LeaderEpoch: 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
}

func fileSize(t *testing.T, fsys vfs.FS, base int64) int64 {
	t.Helper()
	fi, err := fsys.Stat(filepath.Join("/data/t-0", segment.FileName(base, segment.LogSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

// TestZeroesAhead: a log that is committed often and little is kept longer than
// its content; a kill, a power cut, a roll and a clean stop leave nothing of
// that behind that counts.
func TestZeroesAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		var told []string
		ev := Events{Corrupt: func(_ Name, c *CorruptError) { told = append(told, c.Error()) }}
		cfg := LogConfig{Create: true, Durable: true, Retention: -1}
		open := func() (*Dir, *Log) {
			t.Helper()
			d, err := OpenDir(DirConfig{FS: mem, Path: "/data", NodeID: 1, ClusterID: "c", Events: ev, ZeroAhead: 4 << 10})
			if err != nil {
				t.Fatal(err)
			}
			l, err := d.Open(Name{"t", 0}, testID, cfg)
			if err != nil {
				t.Fatal(err)
			}
			return d, l
		}
		d, l := open()
		commitSingly(t, l, smallInARow)
		if n := fileSize(t, mem, 0); n != l.Size() {
			t.Fatalf("after %d commits the file has %d bytes, its content %d", smallInARow, n, l.Size())
		}
		commitSingly(t, l, 1)
		if n := fileSize(t, mem, 0); n != 4<<10 {
			t.Fatalf("the file has %d bytes, not 4096", n)
		}
		commitSingly(t, l, 60) // beyond the first zeroes
		if n := fileSize(t, mem, 0); n%(4<<10) != 0 || n <= l.Size() {
			t.Fatalf("the file has %d bytes, its content %d", n, l.Size())
		}
		size, end := l.Size(), l.End()

		d.Abandon() // killed
		d, l = open()
		if l.Size() != size || l.End() != end || l.Recovery().CutBytes != 0 {
			t.Fatalf("after a kill: %d bytes to %d, %d cut; there were %d to %d", l.Size(), l.End(), l.Recovery().CutBytes, size, end)
		}
		if n := readAll(t, l, 0, end); n != end {
			t.Fatalf("read up to %d of %d", n, end)
		}

		commitSingly(t, l, smallInARow+1)
		size = l.Size()
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		// Killed before the keeper may have sealed the first segment.
		d.Abandon()
		base := l.End()
		d, l = open()
		commitSingly(t, l, smallInARow+1)
		if l.Size() <= size {
			t.Fatalf("%d bytes, %d before the roll", l.Size(), size)
		}
		d.keeper.poke()
		synctest.Wait()
		if n := fileSize(t, mem, 0); n != size {
			t.Fatalf("the sealed file has %d bytes, its content %d", n, size)
		}

		end = l.End()
		mem = mem.CrashClone(func(int64) int64 { return 0 })
		d.Abandon()
		d, l = open()
		if l.End() != end {
			t.Fatalf("after a power cut the log ends at %d, not %d", l.End(), end)
		}
		commitSingly(t, l, smallInARow+1)
		if fileSize(t, mem, base) == l.Size()-size {
			t.Fatal("no zeroes before the clean stop")
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if n := fileSize(t, mem, base); n != l.Size()-size {
			t.Fatalf("after a clean stop the file has %d bytes, its content %d", n, l.Size()-size)
		}
		if len(told) > 0 {
			t.Fatalf("damage reported: %v", told)
		}
	})
}

// TestZeroesAheadOfSmallAppends: a log that is not durable gets zeroes too,
// about as many as it has bytes; large appends get none, and an idle log loses
// its own.
func TestZeroesAheadOfSmallAppends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d, err := OpenDir(DirConfig{FS: mem, Path: "/data", NodeID: 1, ClusterID: "c"})
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, Retention: -1})
		if err != nil {
			t.Fatal(err)
		}
		add := func(n, size int) {
			t.Helper()
			for range n {
				if _, err := l.Append(testBatch(1, simNow, size), Append{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 4 {
			add(briefInARow-1, 1000)
			add(1, 40<<10)
		}
		if n := fileSize(t, mem, 0); n != l.Size() {
			t.Fatalf("the file has %d bytes, its content %d", n, l.Size())
		}
		add(briefInARow, 1000)
		if n := fileSize(t, mem, 0); n <= l.Size() || n > 2*l.Size() {
			t.Fatalf("the file has %d bytes, its content %d", n, l.Size())
		}
		add(3000, 1000)
		if n := fileSize(t, mem, 0); n <= l.Size() || n > l.Size()+256<<10 {
			t.Fatalf("the file has %d bytes, its content %d", n, l.Size())
		}
		time.Sleep(30 * time.Second) // of the bubble's clock
		if n := fileSize(t, mem, 0); n != l.Size() {
			t.Fatalf("the idle file has %d bytes, its content %d", n, l.Size())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestZeroesAheadWithoutRoom: no room for the zeroes is no error of the append.
func TestZeroesAheadWithoutRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := vfs.NewFaulty(vfs.NewMem())
		d, err := OpenDir(DirConfig{FS: f, Path: "/data", NodeID: 1, ClusterID: "c", ZeroAhead: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, Durable: true, Retention: -1})
		if err != nil {
			t.Fatal(err)
		}
		commitSingly(t, l, smallInARow)
		f.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", From: 1, Times: 1, Err: syscall.ENOSPC})
		commitSingly(t, l, 1)
		if n := fileSize(t, f, 0); n != l.Size() {
			t.Fatalf("the file has %d bytes, its content %d", n, l.Size())
		}
		commitSingly(t, l, 1)
		if n := fileSize(t, f, 0); n != 16<<10 {
			t.Fatalf("with room again the file has %d bytes", n)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
