// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"testing"
	"time"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

var testID = [16]byte{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}

func openTestDir(t testing.TB, fs vfs.FS, path string, ev Events) *Dir {
	t.Helper()
	d, err := OpenDir(DirConfig{FS: fs, Path: path, NodeID: 1, ClusterID: "c", Events: ev})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestReopen appends, stops cleanly and uncleanly, and reads everything back.
func TestReopen(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		path := t.TempDir()
		d := openTestDir(t, vfs.OS(), path, Events{})
		name := Name{"topic", 0}
		l, err := d.Open(name, testID, LogConfig{Create: true, Durable: true, SegmentBytes: 4096, IndexInterval: 100})
		if err != nil {
			t.Fatal(err)
		}
		var want int64
		for i := range 200 {
			v := testBatch(3, int64(i), 50)
			a, err := l.Append(v, Append{LeaderEpoch: int32(i / 100)})
			if err != nil {
				t.Fatal(err)
			}
			if a.First != want || a.Last != want+2 {
				t.Fatalf("append %d: got %+v", i, a)
			}
			want += 3
		}
		if err := l.Flush(true); err != nil {
			t.Fatal(err)
		}
		if l.Flushed() != want {
			t.Fatalf("flushed %d", l.Flushed())
		}
		l.SetHighWatermark(want)
		if clean {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			d.Abandon()
		}
		d = openTestDir(t, vfs.OS(), path, Events{Rebuilt: func(p, r string) { t.Errorf("rebuilt %s: %s", p, r) }})
		if d.Clean() != clean {
			t.Fatalf("clean %v", d.Clean())
		}
		l, err = d.Open(name, testID, LogConfig{Durable: true, SegmentBytes: 4096, IndexInterval: 100})
		if err != nil {
			t.Fatal(err)
		}
		if l.End() != want || l.LatestEpoch() != 1 {
			t.Fatalf("clean %v: end %d, epoch %d", clean, l.End(), l.LatestEpoch())
		}
		n := readAll(t, l, 0, want)
		if n != want {
			t.Fatalf("read up to %d", n)
		}
		if _, err := l.Append(testBatch(1, 1, 10), Append{LeaderEpoch: 1}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// readAll reads [from, upTo) and checks that offsets are dense.
func readAll(t testing.TB, l *Log, from, upTo int64) int64 {
	t.Helper()
	for from < upTo {
		s, err := l.Read(from, upTo, 1000, true)
		if err != nil {
			t.Fatalf("read %d: %v", from, err)
		}
		if s.N == 0 {
			t.Fatalf("read %d of %d: nothing", from, upTo)
		}
		b := make([]byte, s.N)
		if _, err := s.File.ReadAt(b, s.Off); err != nil {
			t.Fatal(err)
		}
		s.Release()
		for len(b) > 0 {
			v, rest, err := batch.Next(b)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.CheckCRC(); err != nil {
				t.Fatal(err)
			}
			if v.BaseOffset() != from {
				t.Fatalf("offset %d, want %d", v.BaseOffset(), from)
			}
			from, b = v.NextOffset(), rest
		}
		if s.Next != from {
			t.Fatalf("slice says %d, batches %d", s.Next, from)
		}
	}
	return from
}

// testBatch is a batch of n records of size bytes, at ts and after.
func testBatch(n int, ts int64, size int) batch.View {
	b := batch.NewBuilder(batch.None)
	value := make([]byte, size)
	for i := range n {
		b.Append(ts+int64(i), nil, value)
	}
	v, err := b.Bytes()
	if err != nil {
		panic(err)
	}
	return append(batch.View(nil), v...)
}

func now() time.Time { return time.Now() }
