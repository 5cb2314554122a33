// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

// Goal: each file call may fail without losing what was promised. Method: the
// same short life is run with the first call failing, then with the second,
// and so on, until a life sees no failure; after each the disk is opened
// without faults.

var faultConfig = LogConfig{Create: true, Durable: true, SegmentBytes: 1500, IndexInterval: 100, FileDeleteDelay: -1, Retention: -1}

// faultyLife runs one life on fs and returns what was flushed. Errors end it
// early; they are the point.
func faultyLife(fsys vfs.FS) (flushed int64, err error) {
	d, err := OpenDir(DirConfig{FS: fsys, Path: "/data", NodeID: 1, ClusterID: "c"})
	if err != nil {
		return 0, err
	}
	defer d.Abandon()
	l, err := d.Open(Name{"t", 0}, testID, faultConfig)
	if err != nil {
		return 0, err
	}
	defer func() { flushed = l.Flushed() }()
	for i := range 30 {
		if _, aerr := l.Append(testBatch(2, simNow+int64(i), 60), Append{LeaderEpoch: 1}); aerr != nil {
			err = aerr
			if !errors.Is(aerr, ErrNoSpace) {
				return 0, err
			}
		}
		if i%7 == 0 {
			if ferr := l.Flush(true); ferr != nil {
				return 0, ferr
			}
		}
		if i == 20 {
			l.SetHighWatermark(l.Flushed())
			if ierr := l.IncrementStart(10); ierr != nil {
				err = ierr
			}
			if _, rerr := l.Retain(time.Now()); rerr != nil {
				err = rerr
			}
		}
	}
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return 0, err
}

func TestEachCallFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		for i := int64(1); ; i++ {
			mem := vfs.NewMem()
			f := vfs.NewFaulty(mem)
			f.FailCall(i, vfs.AnyChange, fault, false)
			flushed, err := faultyLife(f)
			calls := f.Calls()
			f.Clear()
			d, oerr := OpenDir(DirConfig{FS: mem, Path: "/data", NodeID: 1, ClusterID: "c"})
			if oerr != nil {
				t.Fatalf("%v at call %d (%v): open again: %v", fault, i, err, oerr)
			}
			l, oerr := d.Open(Name{"t", 0}, testID, faultConfig)
			if oerr != nil {
				t.Fatalf("%v at call %d (%v): open the log again: %v", fault, i, err, oerr)
			}
			if l.End() < flushed {
				t.Fatalf("%v at call %d (%v): flushed %d, found %d", fault, i, err, flushed, l.End())
			}
			if r := l.Recovery(); len(r.Damage) > 0 {
				t.Fatalf("%v at call %d (%v): damage: %v", fault, i, err, r.Damage)
			}
			readAll(t, l, l.Start(), l.End())
			if cerr := d.Close(); cerr != nil {
				t.Fatalf("%v at call %d (%v): close: %v", fault, i, err, cerr)
			}
			if err == nil && i > calls {
				break
			}
			if i > 2000 {
				t.Fatal("no end")
			}
		}
	}
}

// TestDiskFull fills the disk: appends are refused and undone, the directory
// stays online, reads go on, the reserve serves who may use it, and work
// resumes when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	f := vfs.NewFaulty(vfs.NewMem())
	var mu sync.Mutex
	var events []bool
	d, err := OpenDir(DirConfig{FS: f, Path: "/data", NodeID: 1, ReserveBytes: 8 << 10, Events: Events{
		NoSpace:   func(_ string, full bool) { mu.Lock(); events = append(events, full); mu.Unlock() },
		DirFailed: func(_ string, err error) { t.Errorf("offline: %v", err) },
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !d.reserved.Load() {
		t.Fatal("no reserve")
	}
	c := LogConfig{Create: true, Durable: true, SegmentBytes: 3000, IndexInterval: 100}
	l, err := d.Open(Name{"t", 0}, testID, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Reserve = true
	meta, err := d.Open(Name{"meta", 0}, [16]byte{9}, c)
	if err != nil {
		t.Fatal(err)
	}
	f.Limit(20000)
	var end int64
	for i := 0; ; i++ {
		_, err := l.Append(testBatch(1, simNow, 500), Append{})
		if errors.Is(err, ErrNoSpace) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		end++
		if i > 1000 {
			t.Fatal("the disk does not fill up")
		}
	}
	if l.End() != end {
		t.Fatalf("end %d, appended %d", l.End(), end)
	}
	if _, err := l.Append(testBatch(1, simNow, 500), Append{}); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("second refusal: %v", err)
	}
	readAll(t, l, 0, end)
	for range 5 {
		if _, err := meta.Append(testBatch(1, simNow, 500), Append{}); err != nil {
			t.Fatalf("the reserve does not serve: %v", err)
		}
	}
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	f.Limit(-1)
	if _, err := l.Append(testBatch(1, simNow, 500), Append{}); err != nil {
		t.Fatalf("after room returned: %v", err)
	}
	if err := l.Flush(true); err != nil {
		t.Fatal(err)
	}
	readAll(t, l, 0, end+1)
	readAll(t, meta, 0, 5)
	mu.Lock()
	if len(events) != 2 || !events[0] || events[1] {
		t.Errorf("events %v", events)
	}
	mu.Unlock()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedSync takes the directory offline, and what was not flushed is
// never called durable.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	f := vfs.NewFaulty(vfs.NewMem())
	failed := make(chan error, 1)
	d, err := OpenDir(DirConfig{FS: f, Path: "/data", NodeID: 1, Events: Events{
		DirFailed: func(_ string, err error) { failed <- err },
		Flushed:   func(_ *Log, end int64) { t.Errorf("flushed %d", end) },
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Open(Name{"t", 0}, testID, faultConfig)
	if err != nil {
		t.Fatal(err)
	}
	f.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncFS, Err: syscall.EIO, Times: 1})
	if _, err := l.Append(testBatch(1, simNow, 10), Append{}); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if _, err := l.Append(testBatch(1, simNow, 10), Append{}); !errors.Is(err, ErrDirFailed) {
		t.Fatalf("append: %v", err)
	}
	if _, err := l.Read(0, 1, 1000, true); !errors.Is(err, ErrDirFailed) {
		t.Fatalf("read: %v", err)
	}
	if err := l.Flush(true); !errors.Is(err, ErrDirFailed) {
		t.Fatalf("flush: %v", err)
	}
	if err := d.Close(); !errors.Is(err, ErrDirFailed) {
		t.Fatalf("close: %v", err)
	}
}

// flip changes one bit of a file.
func flip(t *testing.T, fsys vfs.FS, name string, pos int64) {
	t.Helper()
	f, err := fsys.OpenRW(name)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, pos); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (pos % 8)
	if _, err := f.WriteAt(b, pos); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedBit flips one bit of every file a log has, one file and position
// at a time, after a clean and an unclean stop. Whatever is read is what was
// written, or a CorruptError; the rest of the log works.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	const batches = 40
	for _, clean := range []bool{true, false} {
		build := func() (*vfs.Mem, [][]byte) {
			mem := vfs.NewMem()
			d := openTestDir(t, mem, "/data", Events{})
			l, err := d.Open(Name{"t", 0}, testID, faultConfig)
			if err != nil {
				t.Fatal(err)
			}
			var want [][]byte
			for i := range batches {
				b := batch.NewBuilder(batch.None)
				b.SetProducer(7, 0, int32(2*i))
				for k := range 2 {
					b.Append(simNow+int64(2*i+k), nil, fmt.Appendf(nil, "record %d of %d %s", k, i, strings.Repeat("y", 50)))
				}
				v, err := b.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				v = bytes.Clone(v)
				if _, err := l.Append(v, Append{LeaderEpoch: int32(i / 15)}); err != nil {
					t.Fatal(err)
				}
				want = append(want, v)
			}
			if err := l.Flush(true); err != nil {
				t.Fatal(err)
			}
			if clean {
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				d.Abandon()
			}
			return mem, want
		}
		mem, _ := build()
		var names []string
		for _, dir := range []string{"/data", "/data/t-0"} {
			entries, err := mem.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				// meta.properties names the owner: who damages it is told.
				if fi, err := e.Info(); err == nil && !e.IsDir() && fi.Size() > 0 && e.Name() != metaPropertiesName {
					names = append(names, dir+"/"+e.Name())
				}
			}
		}
		for _, name := range names {
			fi, err := mem.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			step := max(fi.Size()/23, 1)
			for pos := int64(0); pos < fi.Size(); pos += step {
				mem, want := build()
				if fi, err := mem.Stat(name); err != nil || fi.Size() <= pos {
					continue // the keeper had not written it yet this time
				}
				flip(t, mem, name, pos)
				checkFlipped(t, mem, fmt.Sprintf("clean %v, %s byte %d", clean, name, pos), strings.HasSuffix(name, ".log"), want)
			}
		}
	}
}

func checkFlipped(t *testing.T, mem *vfs.Mem, what string, inLog bool, want [][]byte) {
	t.Helper()
	var told []string
	d, err := OpenDir(DirConfig{FS: mem, Path: "/data", NodeID: 1, ClusterID: "c", Events: Events{
		Corrupt: func(_ Name, c *CorruptError) { told = append(told, c.Error()) },
	}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	l, err := d.Open(Name{"t", 0}, testID, faultConfig)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	end := int64(2 * len(want))
	if l.End() != end || l.Start() != 0 {
		t.Fatalf("%s: log is [%d, %d), not [0, %d)", what, l.Start(), l.End(), end)
	}
	bad := 0
	for i := range want {
		s, err := l.Read(int64(2*i), end, 1, true)
		var c *CorruptError
		if errors.As(err, &c) {
			bad++
			if c.Offset > int64(2*i) || c.Next <= int64(2*i) {
				t.Fatalf("%s: reading %d: %+v", what, 2*i, c)
			}
			continue
		}
		if err != nil || s.N == 0 {
			t.Fatalf("%s: read %d: %d bytes, %v", what, 2*i, s.N, err)
		}
		got := make([]byte, s.N)
		if _, err := s.File.ReadAt(got, s.Off); err != nil {
			t.Fatal(err)
		}
		s.Release()
		if v, _, err := batch.Next(got); err != nil || v.CheckCRC() != nil || v.BaseOffset() != int64(2*i) {
			t.Fatalf("%s: read %d: served damaged bytes: %x (damage told: %v)", what, 2*i, got[:batch.HeaderSize], told)
		} else if !bytes.Equal(v[batch.HeaderSize:], want[i][batch.HeaderSize:]) {
			t.Fatalf("%s: read %d: served other bytes", what, 2*i)
		}
		if at, ok, err := l.OffsetForTimestamp(simNow + int64(2*i+1)); err == nil && (!ok || at.Offset != int64(2*i+1)) {
			t.Fatalf("%s: time of %d found %+v %v", what, 2*i+1, at, ok)
		}
	}
	if !inLog && bad > 0 || bad > 1 {
		t.Fatalf("%s: %d batches are damaged", what, bad)
	}
	if (bad > 0) != (len(told) > 0) {
		t.Fatalf("%s: %d batches are damaged, told %v", what, bad, told)
	}
	if bad == 0 { // else the producer's state may have gone with the batch
		a, err := l.Append(bytes.Clone(want[len(want)-1]), Append{LeaderEpoch: 3})
		if err != nil || !a.Duplicate || a.First != end-2 {
			t.Fatalf("%s: repeating the last batch: %+v %v", what, a, err)
		}
	}
	if a, err := l.Append(testBatch(1, simNow, 10), Append{LeaderEpoch: 3}); err != nil || a.First != end {
		t.Fatalf("%s: append: %+v %v", what, a, err)
	}
	if err := d.Close(); err != nil {
		t.Fatalf("%s: close: %v", what, err)
	}
}
