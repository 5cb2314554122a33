// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// datasync asks for F_FULLFSYNC, as os.File.Sync does: on darwin fsync(2)
// leaves the data in the drive's own cache.
func datasync(fd uintptr) error {
	err := retry(func() error { _, err := unix.FcntlInt(fd, unix.F_FULLFSYNC, 0); return err })
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) {
		return retry(func() error { return unix.Fsync(int(fd)) }) // a network file system
	}
	return err
}

// preallocate reserves n bytes after the last block of the file, whatever off
// is: darwin has no other way, and a log reserves at its end.
func preallocate(fd uintptr, _, n int64) error {
	store := unix.Fstore_t{Flags: unix.F_ALLOCATEALL, Posmode: unix.F_PEOFPOSMODE, Length: n}
	err := retry(func() error { return unix.FcntlFstore(fd, unix.F_PREALLOCATE, &store) })
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

func dropCache(uintptr, int64, int64) {}

func writeBack(uintptr) {}

func absentOf(uintptr, int64, int64) int64 { return 0 }

func load(uintptr, int64, int64) {}

func readAhead(uintptr, bool) {}

func syncFS(_ *osFS, dir string) error {
	return &fs.PathError{Op: "syncfs", Path: dir, Err: ErrUnsupported}
}
