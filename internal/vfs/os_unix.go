// SPDX-License-Identifier: Apache-2.0

//go:build unix

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func openFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

func isSystemNoSpace(err error) bool { return errors.Is(err, unix.EDQUOT) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

func usage(dir string) (Usage, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	// Figures that a network file system makes up may exceed an int64.
	size := int64(st.Bsize) //nolint:unconvert // a uint32 on macOS
	return Usage{Total: bytesOf(st.Blocks, size), Free: bytesOf(st.Bavail, size)}, nil
}

func bytesOf(blocks uint64, size int64) int64 {
	const most = 1<<63 - 1
	if size <= 0 || blocks > uint64(most/size) {
		return most
	}
	return int64(blocks) * size
}

func lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: ErrLocked}
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
}

// retry repeats call while a signal interrupts it, as os.File does.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
