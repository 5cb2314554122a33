// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// OS returns the operating system's file system.
func OS() FS { return &osFS{} }

// IsNoSpace tells whether err means that a disk or a quota is full, on any
// system and for any FS.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || isSystemNoSpace(err)
}

type osFS struct {
	mu sync.Mutex // leaf; guards roots
	// roots are the directories that SyncFS is asked for and Lock was taken
	// in, held open: Linux reports a failed write-back to those that had a
	// descriptor open when it failed, and to others only if nobody else on the
	// machine has been told before.
	roots map[string]*os.File
}

// root returns the open directory, which stays open.
func (f *osFS) root(dir string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.roots[dir]; d != nil {
		return d, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if f.roots == nil {
		f.roots = map[string]*os.File{}
	}
	f.roots[dir] = d
	return d, nil
}

func (*osFS) Create(name string) (File, error) {
	return wrap(openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644))
}
func (*osFS) OpenRW(name string) (File, error) { return wrap(openFile(name, os.O_RDWR, 0)) }
func (*osFS) Open(name string) (File, error)   { return wrap(openFile(name, os.O_RDONLY, 0)) }

func (*osFS) Remove(name string) error             { return os.Remove(name) }
func (*osFS) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (*osFS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// MkdirAll tries first what is the rule: that only the last name is missing.
func (*osFS) MkdirAll(name string) error {
	if os.Mkdir(name, 0o755) == nil {
		return nil
	}
	return os.MkdirAll(name, 0o755)
}

func (*osFS) List(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (*osFS) Stat(name string) (fs.FileInfo, error)  { return os.Stat(name) }
func (*osFS) SyncDir(dir string) error               { return syncDir(dir) }
func (f *osFS) SyncFS(dir string) error              { return syncFS(f, dir) }
func (f *osFS) Lock(name string) (io.Closer, error) {
	l, err := lock(name)
	if err != nil {
		return nil, err
	}
	// Write-back may fail from the first write on.
	if _, err := f.root(filepath.Dir(name)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &rootLock{l, f, filepath.Dir(name)}, nil
}
func (*osFS) Usage(dir string) (Usage, error) { return usage(dir) }

func wrap(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err // not a nil *osFile in an interface
	}
	return &osFile{f}, nil
}

// osFile adds to os.File what a log needs; the rest is os.File's own.
type osFile struct{ *os.File }

func (f *osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f *osFile) Datasync() error {
	return f.control("fdatasync", datasync)
}

func (f *osFile) Preallocate(off, n int64) error {
	if n <= 0 {
		return nil
	}
	return f.control("preallocate", func(fd uintptr) error { return preallocate(fd, off, n) })
}

func (f *osFile) DropCache(off, n int64) {
	_ = f.control("fadvise", func(fd uintptr) error { dropCache(fd, off, n); return nil })
}

func (f *osFile) Absent(off, n int64) (absent int64) {
	_ = f.control("cachestat", func(fd uintptr) error { absent = absentOf(fd, off, n); return nil })
	return absent
}

func (f *osFile) Load(off, n int64) {
	_ = f.control("fadvise", func(fd uintptr) error { load(fd, off, n); return nil })
	if n > 0 {
		var b [1]byte
		_, _ = f.ReadAt(b[:], off+n-1) // it comes last
	}
}

func (f *osFile) ReadAhead(on bool) {
	_ = f.control("fadvise", func(fd uintptr) error { readAhead(fd, on); return nil })
}

func (f *osFile) WriteBack() {
	_ = f.control("sync_file_range", func(fd uintptr) error { writeBack(fd); return nil })
}

// SysFd is valid while the file is open; the caller keeps it so.
func (f *osFile) SysFd() (uintptr, bool) { return f.Fd(), true }

// control calls fn with the descriptor, which a concurrent Close cannot
// recycle meanwhile.
func (f *osFile) control(op string, fn func(fd uintptr) error) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = fn(fd) }); err != nil {
		return err
	}
	if ferr != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: ferr}
	}
	return nil
}

// rootLock lets go of the directory with the lock, so that nothing holds a
// file system that its last user has left.
type rootLock struct {
	io.Closer
	fs  *osFS
	dir string
}

func (l *rootLock) Close() error {
	l.fs.mu.Lock()
	d := l.fs.roots[l.dir]
	delete(l.fs.roots, l.dir)
	l.fs.mu.Unlock()
	err := l.Closer.Close()
	if d != nil {
		err = errors.Join(err, d.Close())
	}
	return err
}
