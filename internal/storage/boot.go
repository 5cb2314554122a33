// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"bytes"
	"path/filepath"
)

// A killed process loses nothing that it wrote, for the page cache outlives
// it; a power cut may lose every tail that was not synced, without a trace.
// Which of the two it was, the system's boot id tells: it is noted in
// gregor-boot. Where the system has none, or the file was lost, a
// power cut is assumed. The file needs no sync: boot ids do not come back.
//
// It is noted once others know what the logs may have lost (NoteBoot): a start
// that is killed before that must not hide a power cut from the next one.
const (
	bootName   = "gregor-boot"
	bootIDPath = "/proc/sys/kernel/random/boot_id" // Linux
)

// isSameBoot says whether the system has run on since NoteBoot was called last.
func (d *Dir) isSameBoot() bool {
	id := d.readSome(bootIDPath)
	return len(id) > 0 && bytes.Equal(d.readSome(filepath.Join(d.path, bootName)), id)
}

// NoteBoot notes that the losses of the power cuts before the present boot have
// been dealt with: the next start after a kill assumes none of them.
func (d *Dir) NoteBoot() {
	id := d.readSome(bootIDPath)
	if d.sameBoot || len(id) == 0 || d.Err() != nil {
		return
	}
	path := filepath.Join(d.path, bootName)
	f, err := d.fs.OpenRW(path)
	if err != nil {
		if f, err = d.fs.Create(path); err != nil {
			return
		}
	}
	_, _ = f.WriteAt(id, 0) // not there the next time: a power cut is assumed
	_ = f.Truncate(int64(len(id)))
	_ = f.Close()
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
