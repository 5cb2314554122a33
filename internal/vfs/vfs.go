// SPDX-License-Identifier: Apache-2.0

// Package vfs is the one seam between Gregor and a disk: every file that the
// broker reads or writes goes through an FS. OS is the real one; Mem keeps
// files in memory, remembers what was synced, and can be crashed; Faulty wraps
// either with failing, slow or full disks. Nothing below package vfs knows
// about logs, and nothing above it calls the os package's file functions.
//
// Durability contract, the same for every FS:
//   - WriteAt, Truncate: visible to every reader at once, durable after Sync,
//     Datasync (which also makes a changed size durable) or SyncFS.
//   - Create, Rename, Remove: durable after SyncDir of the parent (or SyncFS).
//   - After a crash, an unsynced write may be there, missing, or torn at any
//     byte, in any order with other unsynced writes.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// FS is a file system. All methods are safe for concurrent use. Names are
// operating-system paths. Errors are *fs.PathError or wrap one, so that
// errors.Is(err, fs.ErrNotExist) and IsNoSpace work.
type FS interface {
	// Create makes a new empty file for reading and writing; an existing one
	// is an error (fs.ErrExist).
	Create(name string) (File, error)
	// OpenRW opens an existing file for reading and writing.
	OpenRW(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	Remove(name string) error
	RemoveAll(name string) error
	// Rename replaces newName if it exists, atomically.
	Rename(oldName, newName string) error
	MkdirAll(name string) error
	// List returns the entries of a directory sorted by name.
	List(dir string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, renames and removals in dir durable. A no-op
	// where the system has no such call (Windows).
	SyncDir(dir string) error
	// SyncFS makes everything written below dir durable in one act (Linux
	// syncfs). Where the system lacks it: ErrUnsupported, and callers sync
	// file by file.
	SyncFS(dir string) error
	// Lock takes an exclusive lock on name, creating it; it is released by
	// Close or the death of the process. A lock held elsewhere: ErrLocked.
	Lock(name string) (io.Closer, error)
	// Usage tells the size and the free bytes of dir's file system.
	Usage(dir string) (Usage, error)
}

// File is an open file. ReadAt and WriteAt may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes data and all metadata durable; Datasync data and size.
	Sync() error
	Datasync() error
	// Preallocate reserves blocks for [off, off+n) without changing the size.
	// Best effort: a system that cannot returns nil.
	Preallocate(off, n int64) error
	// DropCache advises the kernel that [off, off+n) will not be read soon.
	DropCache(off, n int64)
	// Absent tells how many bytes of [off, off+n) are not in memory; 0 also
	// where the system cannot say.
	Absent(off, n int64) int64
	// Load brings [off, off+n) into memory. Best effort.
	Load(off, n int64)
	// ReadAhead says whether the system is to read ahead of sequential reads, as
	// it does at first. Best effort.
	ReadAhead(on bool)
	// WriteBack asks the system to begin writing what is dirty, and does not
	// wait: the next sync, of whatever file, then finds its blocks allocated, and
	// one commit of the file system's journal serves several files. Best effort.
	WriteBack()
	// SysFd returns the descriptor for sendfile; ok is false in memory.
	SysFd() (fd uintptr, ok bool)
}

// Usage is the state of a file system, in bytes. Free is what an
// unprivileged writer may still use.
type Usage struct{ Total, Free int64 }

var (
	ErrUnsupported = errors.New("vfs: not supported on this system")
	ErrLocked      = errors.New("vfs: locked by another process")
)

// WriteFileAtomic replaces name with data so that a crash leaves the old or
// the new content, both whole: write name.tmp, sync, rename, sync directory.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	return writeFileAtomic(fsys, name, data)
}

// ReadFile returns the whole content of name.
func ReadFile(fsys FS, name string) ([]byte, error) { return readFile(fsys, name) }
