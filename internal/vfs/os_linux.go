// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

func datasync(fd uintptr) error {
	return retry(func() error { return unix.Fdatasync(int(fd)) })
}

func preallocate(fd uintptr, off, n int64) error {
	err := retry(func() error { return unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

func dropCache(fd uintptr, off, n int64) {
	_ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED)
}

func writeBack(fd uintptr) {
	_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

func syncFS(f *osFS, dir string) error {
	d, err := f.root(dir)
	if err != nil {
		return err
	}
	err = retry(func() error { return unix.Syncfs(int(d.Fd())) })
	if err != nil {
		return &fs.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
