// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// openFile shares deletion too, which os.OpenFile does not: a segment that is
// still being read can then be renamed and removed, as on other systems.
func openFile(name string, flag int, _ os.FileMode) (*os.File, error) {
	path, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	access, disposition := uint32(windows.GENERIC_READ), uint32(windows.OPEN_EXISTING)
	if flag&os.O_RDWR != 0 {
		access |= windows.GENERIC_WRITE
	}
	if flag&os.O_CREATE != 0 {
		disposition = windows.OPEN_ALWAYS
		if flag&os.O_EXCL != 0 {
			disposition = windows.CREATE_NEW
		}
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(path, access, share, nil, disposition, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

func isSystemNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func datasync(fd uintptr) error { return windows.FlushFileBuffers(windows.Handle(fd)) }

func preallocate(uintptr, int64, int64) error { return nil }

func dropCache(uintptr, int64, int64) {}

func writeBack(uintptr) {}

func absentOf(uintptr, int64, int64) int64 { return 0 }

func load(uintptr, int64, int64) {}

func readAhead(uintptr, bool) {}

// syncDir does nothing: NTFS journals names itself, and a directory handle
// cannot be flushed without administrator's rights.
func syncDir(string) error { return nil }

func syncFS(_ *osFS, dir string) error {
	return &fs.PathError{Op: "syncfs", Path: dir, Err: ErrUnsupported}
}

func usage(dir string) (Usage, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return Usage{}, &fs.PathError{Op: "usage", Path: dir, Err: err}
	}
	var free, total uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, &total, nil); err != nil {
		return Usage{}, &fs.PathError{Op: "usage", Path: dir, Err: err}
	}
	return Usage{Total: int64(total), Free: int64(free)}, nil
}

func lock(name string) (io.Closer, error) {
	f, err := openFile(name, os.O_RDWR|os.O_CREATE, 0)
	if err != nil {
		return nil, err
	}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		err = ErrLocked
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
}
