// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"container/list"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/vfs"
)

// Files keeps a bounded number of unused files open, so that a log that idles
// holds none and a busy one does not open its files again and again. A file in
// use is never closed, whatever the bound. Files are opened for reading and
// writing. Concurrency: one leaf lock; opening happens outside of it.
type Files struct {
	fs   vfs.FS
	most int

	mu     sync.Mutex
	open   map[string]*Handle
	unused list.List // of *Handle, most recently used first
}

// NewFiles makes a cache that keeps most unused files open, no more.
func NewFiles(fs vfs.FS, most int) *Files {
	return &Files{fs: fs, most: most, open: map[string]*Handle{}}
}

// FS is the file system beneath.
func (f *Files) FS() vfs.FS { return f.fs }

// Handle is one use of an open file. Release ends it.
type Handle struct {
	vfs.File
	files *Files
	path  string
	refs  int
	gone  bool // no longer in open; close at the last release
	used  time.Time
	elem  *list.Element
	// noAhead: the system was told not to read ahead.
	noAhead atomic.Bool
}

// ReadAhead says whether the system is to read ahead, as it does at first.
func (h *Handle) ReadAhead(on bool) {
	if h.noAhead.CompareAndSwap(on, !on) {
		h.File.ReadAhead(on)
	}
}

// Acquire opens path or finds it open.
func (f *Files) Acquire(path string) (*Handle, error) {
	f.mu.Lock()
	if h := f.take(path); h != nil {
		f.mu.Unlock()
		return h, nil
	}
	f.mu.Unlock()
	file, err := f.fs.OpenRW(path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if h := f.take(path); h != nil { // another was faster
		_ = file.Close()
		return h, nil
	}
	h := &Handle{File: file, files: f, path: path, refs: 1}
	f.open[path] = h
	return h, nil
}

// Create makes the file path and returns it open.
func (f *Files) Create(path string) (*Handle, error) {
	file, err := f.fs.Create(path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := &Handle{File: file, files: f, path: path, refs: 1}
	f.open[path] = h
	return h, nil
}

func (f *Files) take(path string) *Handle {
	h := f.open[path]
	if h == nil {
		return nil
	}
	h.refs++
	if h.elem != nil {
		f.unused.Remove(h.elem)
		h.elem = nil
	}
	return h
}

// Retain adds a use of an already used handle.
func (h *Handle) Retain() *Handle {
	h.files.mu.Lock()
	h.refs++
	h.files.mu.Unlock()
	return h
}

// Release ends one use.
func (h *Handle) Release() {
	f := h.files
	f.mu.Lock()
	h.refs--
	var closing *Handle
	if h.refs == 0 {
		if h.gone {
			closing = h
		} else {
			h.used = time.Now()
			h.elem = f.unused.PushFront(h)
			if f.unused.Len() > f.most {
				closing = f.evict(f.unused.Back())
			}
		}
	}
	f.mu.Unlock()
	if closing != nil {
		_ = closing.Close()
	}
}

func (f *Files) evict(e *list.Element) *Handle {
	h := e.Value.(*Handle)
	f.unused.Remove(e)
	h.elem = nil
	delete(f.open, h.path)
	return h
}

// CloseIdle closes the files unused since before t and returns how many unused
// ones stay open.
func (f *Files) CloseIdle(t time.Time) int {
	var closing []*Handle
	f.mu.Lock()
	for e := f.unused.Back(); e != nil && e.Value.(*Handle).used.Before(t); e = f.unused.Back() {
		closing = append(closing, f.evict(e))
	}
	n := f.unused.Len()
	f.mu.Unlock()
	for _, h := range closing {
		_ = h.Close()
	}
	return n
}

// Renamed tells the cache that a file has another path now.
func (f *Files) Renamed(from, to string) {
	f.mu.Lock()
	if h := f.open[from]; h != nil {
		delete(f.open, from)
		h.path = to
		f.open[to] = h
	}
	f.mu.Unlock()
}

// Forget closes path, at once or when its last user is done.
func (f *Files) Forget(path string) {
	f.mu.Lock()
	h := f.open[path]
	if h == nil {
		f.mu.Unlock()
		return
	}
	unused := h.elem != nil
	if unused {
		f.evict(h.elem)
	} else {
		delete(f.open, path)
		h.gone = true
	}
	f.mu.Unlock()
	if unused {
		_ = h.Close()
	}
}

// ForgetIn is Forget for all files of a directory. It looks at every open
// file, so that nothing is kept by directory.
func (f *Files) ForgetIn(dir string) {
	var in []string
	f.mu.Lock()
	for p := range f.open {
		if len(p) > len(dir) && p[:len(dir)] == dir && filepath.Dir(p) == dir {
			in = append(in, p)
		}
	}
	f.mu.Unlock()
	for _, p := range in {
		f.Forget(p)
	}
}

// Paths are the files open now.
func (f *Files) Paths() iter.Seq[string] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Values(slices.Collect(maps.Keys(f.open)))
}

// Open is the number of open files.
func (f *Files) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// CloseAll closes what is unused and lets go of the rest.
func (f *Files) CloseAll() {
	f.mu.Lock()
	var closing []*Handle
	for path, h := range f.open {
		delete(f.open, path)
		if h.elem != nil {
			f.unused.Remove(h.elem)
			h.elem = nil
			closing = append(closing, h)
		}
		h.gone = true
	}
	f.mu.Unlock()
	for _, h := range closing {
		_ = h.Close()
	}
}
