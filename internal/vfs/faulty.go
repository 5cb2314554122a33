// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Op is a kind of call; a Rule takes several, joined by |.
type Op uint32

const (
	OpCreate Op = 1 << iota
	OpOpen      // Open and OpenRW
	OpRemove    // Remove and RemoveAll
	OpRename    // the rule's path is tried on both names
	OpMkdir
	OpList
	OpStat // Stat, Size and Usage
	OpSyncDir
	OpSyncFS
	OpLock
	OpRead
	OpWrite
	OpTruncate
	OpSync // Sync and Datasync
	OpPreallocate
	OpClose

	// AnyOp is every call, AnyChange those that change the disk or promise
	// that it has changed.
	AnyOp     = OpClose<<1 - 1
	AnyChange = OpCreate | OpRemove | OpRename | OpMkdir | OpSyncDir | OpSyncFS | OpWrite | OpTruncate | OpSync | OpPreallocate
)

var opNames = [...]string{"create", "open", "remove", "rename", "mkdir", "list", "stat", "syncdir", "syncfs",
	"lock", "read", "write", "truncate", "sync", "preallocate", "close"}

func (o Op) String() string {
	var names []string
	for i, n := range opNames {
		if o&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, "|")
}

// Call is one call of an FS or a File, as rules and traces see it.
type Call struct {
	Op     Op
	Path   string
	Path2  string // Rename's new name
	Off, N int64  // of Read, Write, Preallocate; N of Truncate is the size
}

// Rule makes calls fail or wait. The zero values of its fields mean: any
// call, any path, from the first on, without end, certainly, no error.
type Rule struct {
	Ops Op
	// Path is a pattern as for filepath.Match, tried on the name's last
	// element and, if it has a separator, on the whole name.
	Path string
	// From is the first matching call that is hit, counted from 1; Times how
	// many are.
	From, Times int64
	// OneIn hits at random, by Faulty's Seed: one call in so many.
	OneIn int64
	// Err is what the call returns, wrapped in a *fs.PathError.
	Err error
	// Partial lets a failing write or read do a part of its work first.
	Partial bool
	// Before runs ahead of the call, whether it fails or not; to delay it,
	// sleep there.
	Before func(Call)
}

// Faulty passes calls on to another FS, unless a rule makes them fail or the
// space it grants is used up. It is safe for concurrent use; the FS below
// must not be written past it while a limit is set.
type Faulty struct {
	fs FS

	mu    sync.Mutex // guards the rest; a leaf, and not held when Before runs
	rules []*activeRule
	rng   func(n int64) int64
	trace func(Call)
	calls int64
	space int64 // left; below zero: no limit
}

type activeRule struct {
	Rule
	seen, hits int64
}

// NewFaulty returns a Faulty that as yet lets everything pass.
func NewFaulty(below FS) *Faulty { return &Faulty{fs: below, space: -1} }

// Add puts a rule into force and returns a function that lifts it. The first
// rule with an error that hits a call decides its fate.
func (f *Faulty) Add(r Rule) (lift func()) {
	a := &activeRule{Rule: r}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, a)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i, x := range f.rules {
			if x == a {
				f.rules = append(f.rules[:i:i], f.rules[i+1:]...)
				return
			}
		}
	}
}

// Clear lifts all rules and the limit of space.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.space = nil, -1
}

// FailCall makes the i-th call from now on (1 is the next) of the given kinds
// fail with err, and every one after it too if forever is set.
func (f *Faulty) FailCall(i int64, ops Op, err error, forever bool) (lift func()) {
	r := Rule{Ops: ops, From: i, Times: 1, Err: err}
	if forever {
		r.Times = 0
	}
	return f.Add(r)
}

// Seed sets what OneIn draws from: rng returns a number in [0, n).
func (f *Faulty) Seed(rng func(n int64) int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rng = rng
}

// Trace has fn called with every call that is made, in order; fn must not use
// the FS. Nil ends it.
func (f *Faulty) Trace(fn func(Call)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace = fn
}

// Calls is the number of calls so far: a run without rules tells how many
// there are to fail.
func (f *Faulty) Calls() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Limit grants n more bytes: writes beyond it, net of what is removed and cut
// since, fail with ENOSPC after filling what is left. Below zero lifts it.
func (f *Faulty) Limit(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.space = n
}

// enter counts, traces and judges a call.
func (f *Faulty) enter(c Call) (partial bool, err error) {
	f.mu.Lock()
	f.calls++
	if f.trace != nil {
		f.trace(c)
	}
	var before []func(Call)
	for _, r := range f.rules {
		if !r.matches(c) {
			continue
		}
		r.seen++
		if r.seen < r.From || r.Times > 0 && r.hits >= r.Times || r.OneIn > 1 && (f.rng == nil || f.rng(r.OneIn) != 0) {
			continue
		}
		r.hits++
		if r.Before != nil {
			before = append(before, r.Before)
		}
		if err == nil && r.Err != nil {
			err, partial = &fs.PathError{Op: c.Op.String(), Path: c.Path, Err: r.Err}, r.Partial
		}
	}
	f.mu.Unlock()
	for _, fn := range before {
		fn(c)
	}
	return partial, err
}

func (r *Rule) matches(c Call) bool {
	if r.Ops != 0 && r.Ops&c.Op == 0 {
		return false
	}
	return r.Path == "" || r.matchesName(c.Path) || c.Path2 != "" && r.matchesName(c.Path2)
}

func (r *Rule) matchesName(name string) bool {
	if !strings.ContainsRune(filepath.ToSlash(r.Path), '/') {
		name = filepath.Base(name)
	}
	ok, err := filepath.Match(r.Path, name)
	return ok && err == nil
}

func (f *Faulty) do(op Op, name string, call func() error) error {
	if _, err := f.enter(Call{Op: op, Path: name}); err != nil {
		return err
	}
	return call()
}

func (f *Faulty) openWith(op Op, name string, open func(string) (File, error)) (File, error) {
	if _, err := f.enter(Call{Op: op, Path: name}); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, f: f}, nil
}

func (f *Faulty) Create(name string) (File, error) { return f.openWith(OpCreate, name, f.fs.Create) }
func (f *Faulty) OpenRW(name string) (File, error) { return f.openWith(OpOpen, name, f.fs.OpenRW) }
func (f *Faulty) Open(name string) (File, error)   { return f.openWith(OpOpen, name, f.fs.Open) }

func (f *Faulty) Remove(name string) error {
	return f.do(OpRemove, name, func() error { return f.freeing(name, f.fs.Remove) })
}

func (f *Faulty) RemoveAll(name string) error {
	return f.do(OpRemove, name, func() error { return f.freeing(name, f.fs.RemoveAll) })
}

// freeing gives back the space of what remove removes.
func (f *Faulty) freeing(name string, remove func(string) error) error {
	var size int64
	if f.limited() {
		size = treeSize(f.fs, name)
	}
	if err := remove(name); err != nil {
		return err
	}
	f.release(size)
	return nil
}

func (f *Faulty) Rename(oldName, newName string) error {
	if _, err := f.enter(Call{Op: OpRename, Path: oldName, Path2: newName}); err != nil {
		return err
	}
	var size int64
	if f.limited() && filepath.Clean(oldName) != filepath.Clean(newName) {
		size = treeSize(f.fs, newName)
	}
	if err := f.fs.Rename(oldName, newName); err != nil {
		return err
	}
	f.release(size)
	return nil
}

func (f *Faulty) MkdirAll(name string) error {
	return f.do(OpMkdir, name, func() error { return f.fs.MkdirAll(name) })
}
func (f *Faulty) SyncDir(dir string) error {
	return f.do(OpSyncDir, dir, func() error { return f.fs.SyncDir(dir) })
}
func (f *Faulty) SyncFS(dir string) error {
	return f.do(OpSyncFS, dir, func() error { return f.fs.SyncFS(dir) })
}

func (f *Faulty) List(dir string) (entries []fs.DirEntry, err error) {
	err = f.do(OpList, dir, func() error { entries, err = f.fs.List(dir); return err })
	return entries, err
}
func (f *Faulty) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do(OpStat, name, func() error { info, err = f.fs.Stat(name); return err })
	return info, err
}
func (f *Faulty) Lock(name string) (l io.Closer, err error) {
	err = f.do(OpLock, name, func() error { l, err = f.fs.Lock(name); return err })
	return l, err
}

// Usage tells of the space that is left under a limit.
func (f *Faulty) Usage(dir string) (u Usage, err error) {
	err = f.do(OpStat, dir, func() error { u, err = f.fs.Usage(dir); return err })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space >= 0 {
		u.Free = min(u.Free, f.space)
	}
	return u, err
}

func (f *Faulty) limited() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.space >= 0
}

// take asks for n bytes and returns how many are granted.
func (f *Faulty) take(n int64) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space >= 0 {
		n = min(n, f.space)
		f.space -= n
	}
	return n
}

func (f *Faulty) release(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.space >= 0 {
		f.space += n
	}
}

func treeSize(fsys FS, name string) int64 {
	info, err := fsys.Stat(name)
	if err != nil {
		return 0
	}
	if !info.IsDir() {
		return info.Size()
	}
	entries, err := fsys.List(name)
	if err != nil {
		return 0
	}
	var sum int64
	for _, e := range entries {
		sum += treeSize(fsys, filepath.Join(name, e.Name()))
	}
	return sum
}

// faultyFile is an open file of a Faulty; Name, DropCache and SysFd pass.
type faultyFile struct {
	File
	f *Faulty
}

func (h *faultyFile) enter(op Op, off, n int64) (bool, error) {
	return h.f.enter(Call{Op: op, Path: h.Name(), Off: off, N: n})
}

func (h *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if partial, err := h.enter(OpRead, off, int64(len(p))); err != nil {
		n := 0
		if partial {
			n, _ = h.File.ReadAt(p[:len(p)/2], off)
		}
		return n, err
	}
	return h.File.ReadAt(p, off)
}

func (h *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	partial, err := h.enter(OpWrite, off, int64(len(p)))
	switch {
	case err != nil && !partial:
		return 0, err
	case err != nil:
		p = p[:len(p)/2]
	}
	if h.f.limited() {
		size, serr := h.File.Size()
		if serr != nil {
			return 0, serr
		}
		if grow := off + int64(len(p)) - max(size, off); grow > 0 {
			if short := grow - h.f.take(grow); short > 0 {
				p = p[:int64(len(p))-short]
				if err == nil {
					err = &fs.PathError{Op: "write", Path: h.Name(), Err: syscall.ENOSPC}
				}
			}
		}
	}
	n, werr := h.File.WriteAt(p, off)
	if err == nil {
		err = werr
	}
	return n, err
}

func (h *faultyFile) Truncate(size int64) error {
	if _, err := h.enter(OpTruncate, 0, size); err != nil {
		return err
	}
	before := size
	if h.f.limited() {
		var err error
		if before, err = h.File.Size(); err != nil {
			return err
		}
	}
	if err := h.File.Truncate(size); err != nil {
		return err
	}
	h.f.release(max(0, before-size))
	return nil
}

func (h *faultyFile) Size() (int64, error) {
	if _, err := h.enter(OpStat, 0, 0); err != nil {
		return 0, err
	}
	return h.File.Size()
}

func (h *faultyFile) Sync() error {
	if _, err := h.enter(OpSync, 0, 0); err != nil {
		return err
	}
	return h.File.Sync()
}

func (h *faultyFile) Datasync() error {
	if _, err := h.enter(OpSync, 0, 0); err != nil {
		return err
	}
	return h.File.Datasync()
}

// Preallocate fails under a limit that has no room; it uses nothing up, since
// the writes that follow do.
func (h *faultyFile) Preallocate(off, n int64) error {
	if _, err := h.enter(OpPreallocate, off, n); err != nil {
		return err
	}
	h.f.mu.Lock()
	full := h.f.space >= 0 && n > h.f.space
	h.f.mu.Unlock()
	if full {
		return &fs.PathError{Op: "preallocate", Path: h.Name(), Err: syscall.ENOSPC}
	}
	return h.File.Preallocate(off, n)
}

// Close closes the file below even when it is made to fail.
func (h *faultyFile) Close() error {
	_, err := h.enter(OpClose, 0, 0)
	if cerr := h.File.Close(); err == nil {
		err = cerr
	}
	return err
}
