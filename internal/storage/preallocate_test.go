// SPDX-License-Identifier: Apache-2.0

//go:build unix

package storage

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gregor/internal/vfs"
)

// TestPreallocatedBlocksGoBack: a segment that is rolled before it is full, by
// its age, gives back what was reserved for it.
func TestPreallocatedBlocksGoBack(t *testing.T) {
	t.Parallel()
	const segment = 4 << 20
	path := t.TempDir()
	d := openTestDir(t, vfs.OS(), path, Events{})
	l, err := d.Open(Name{"t", 0}, testID, LogConfig{Create: true, Durable: true, Preallocate: true, SegmentBytes: segment})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		appendAt(t, l, simNow, 3)
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	d.sealAll()
	blocks := func(base string) int64 {
		fi, err := os.Stat(filepath.Join(path, "t-0", base+".log"))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Sys().(*syscall.Stat_t).Blocks * 512
	}
	if n := blocks("00000000000000000009"); n < segment {
		t.Skipf("the file system reserved %d bytes", n)
	}
	for _, base := range []string{"00000000000000000003", "00000000000000000006"} {
		if n := blocks(base); n >= segment {
			t.Errorf("segment %s of 3 records holds %d bytes of the disk", base, n)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
