// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var pageSize = os.Getpagesize()

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

// absentOf asks cachestat, which Linux has since 6.5.
func absentOf(fd uintptr, off, n int64) int64 {
	if n <= 0 {
		return 0
	}
	var st unix.Cachestat_t
	if err := unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &st, 0); err != nil {
		return 0
	}
	page := int64(pageSize)
	pages := (off+n-1)/page - off/page + 1
	return max(0, pages-int64(st.Cache)) * page
}

func load(fd uintptr, off, n int64) {
	_ = unix.Fadvise(int(fd), off, n, unix.FADV_WILLNEED)
}

func readAhead(fd uintptr, on bool) {
	advice := unix.FADV_NORMAL
	if !on {
		advice = unix.FADV_RANDOM
	}
	_ = unix.Fadvise(int(fd), 0, 0, advice)
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
