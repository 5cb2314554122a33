// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"path/filepath"
)

// A killed process loses nothing that it wrote, for the page cache outlives
// it; a power cut may lose every tail that was not synced, without a trace.
// Which of the two it was, the system's boot id tells: it is noted at each
// start, in gregor-boot. Where the system has none, or the file was lost, a
// power cut is assumed. The file needs no sync: boot ids do not come back.
const (
	bootName   = "gregor-boot"
	bootIDPath = "/proc/sys/kernel/random/boot_id" // Linux
)

// noteBoot says whether the system has run on since the last start, and notes
// the present boot.
func (d *Dir) noteBoot() (same bool) {
	id := d.readSome(bootIDPath)
	path := filepath.Join(d.path, bootName)
	if len(id) == 0 {
		return false
	}
	if bytes.Equal(d.readSome(path), id) {
		return true
	}
	f, err := d.fs.OpenRW(path)
	if err != nil {
		if f, err = d.fs.Create(path); err != nil {
			return false
		}
	}
	_, _ = f.WriteAt(id, 0) // not there the next time: a power cut is assumed
	_ = f.Truncate(int64(len(id)))
	_ = f.Close()
	return false
}

// readSome reads the beginning of a small file; the size of those of the
// system is not known. Nothing when it cannot be read.
func (d *Dir) readSome(path string) []byte {
	f, err := d.fs.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, 64)
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}
