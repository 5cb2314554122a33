// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a file system in memory that knows what a power cut would leave.
//
// A file is an inode: the bytes that readers see, the bytes that are durable,
// and the writes between the two, in order. A directory is the same with
// names: entries that programs see, entries that are durable, and a list of
// changes between. Sync and Datasync of a file, SyncDir of a directory and
// SyncFS of a tree apply those lists to the durable side and empty them.
// CrashClone draws for each change left whether it reached the disk.
//
// Removed files live on while they are open, as on Unix. One mutex guards all
// names; each file has its own for its bytes, taken after it.
type Mem struct {
	world sync.RWMutex // held shared by changes of files, else by CrashClone; taken first
	ns    sync.Mutex   // guards names, locks and seq
	root  *memDir
	locks map[string]*memLock
	seq   int64 // of the last change of names
	used  atomic.Int64
	life  atomic.Int64 // handles of an earlier life are dead
	now   func() time.Time
}

// memTotal is what Usage reports as the disk's size: more than tests write.
const memTotal = 1 << 50

// NewMem returns an empty file system. Its root directory exists and is
// durable; "." and "/" both mean the root.
func NewMem() *Mem {
	return &Mem{root: newMemDir(), locks: map[string]*memLock{}, now: time.Now}
}

type memNode interface{ isNode() }

func (*memDir) isNode()  {}
func (*memFile) isNode() {}

// memDir is guarded by Mem.ns.
type memDir struct {
	seen    map[string]memNode
	durable map[string]memNode
	pending []*nameOp // since the last SyncDir, in order; a rename across directories stands in both
	parent  *memDir
	name    string
}

func newMemDir() *memDir {
	return &memDir{seen: map[string]memNode{}, durable: map[string]memNode{}}
}

// nameOp is one change of names: unlink (if from is set) and link (if to is
// set) as one act.
type nameOp struct {
	from     *memDir
	fromName string
	to       *memDir
	toName   string
	node     memNode // what to's name becomes
	seq      int64
}

// memFile is an inode.
type memFile struct {
	mu      sync.RWMutex // guards the fields below; taken after Mem.ns
	seen    []byte
	durable []byte
	pending []dataOp
	clean   bool // durable == seen in content: durable is not kept apart
	mod     time.Time
	fs      *Mem
}

// dataOp is a write of data at off, or a cut or growth to off.
type dataOp struct {
	off      int64
	data     []byte
	truncate bool
}

// split gives the elements of a cleaned name; none for the root.
func split(name string) []string {
	name = filepath.ToSlash(filepath.Clean(name))
	name = strings.TrimPrefix(name[len(filepath.VolumeName(name)):], "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// dir finds a directory.
func (m *Mem) dir(elems []string) (*memDir, error) {
	d := m.root
	for _, e := range elems {
		switch n := d.seen[e].(type) {
		case *memDir:
			d = n
		case *memFile:
			return nil, syscall.ENOTDIR
		default:
			return nil, fs.ErrNotExist
		}
	}
	return d, nil
}

// lookup finds a name's directory and what it stands for, nil if nothing.
func (m *Mem) lookup(name string) (d *memDir, last string, n memNode, err error) {
	elems := split(name)
	if len(elems) == 0 {
		return nil, "", m.root, nil
	}
	last = elems[len(elems)-1]
	if d, err = m.dir(elems[:len(elems)-1]); err != nil {
		return nil, last, nil, err
	}
	return d, last, d.seen[last], nil
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// change applies op to what programs see and remembers it for the crash.
func (m *Mem) change(op *nameOp) {
	m.seq++
	op.seq = m.seq
	op.apply(func(d *memDir) map[string]memNode { return d.seen })
	if op.from != nil {
		op.from.pending = append(op.from.pending, op)
	}
	if op.to != nil && op.to != op.from {
		op.to.pending = append(op.to.pending, op)
	}
	if sub, ok := op.node.(*memDir); ok {
		sub.parent, sub.name = op.to, op.toName
	}
}

func (op *nameOp) compare(other *nameOp) int { return cmp.Compare(op.seq, other.seq) }

func (op *nameOp) apply(names func(*memDir) map[string]memNode) {
	if op.from != nil {
		delete(names(op.from), op.fromName)
	}
	if op.to != nil {
		names(op.to)[op.toName] = op.node
	}
}

func (m *Mem) Create(name string) (File, error) {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, last, n, err := m.lookup(name)
	switch {
	case err != nil:
		return nil, pathError("create", name, err)
	case n != nil:
		return nil, pathError("create", name, fs.ErrExist)
	}
	f := &memFile{fs: m, mod: m.now(), clean: true}
	m.change(&nameOp{to: d, toName: last, node: f})
	return m.handle(f, name, true), nil
}

func (m *Mem) OpenRW(name string) (File, error) { return m.open(name, true) }
func (m *Mem) Open(name string) (File, error)   { return m.open(name, false) }

func (m *Mem) open(name string, writable bool) (File, error) {
	m.ns.Lock()
	defer m.ns.Unlock()
	_, _, n, err := m.lookup(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	switch n := n.(type) {
	case *memFile:
		return m.handle(n, name, writable), nil
	case *memDir:
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return nil, pathError("open", name, fs.ErrNotExist)
}

func (m *Mem) Remove(name string) error {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, last, n, err := m.lookup(name)
	switch {
	case err != nil:
		return pathError("remove", name, err)
	case n == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case d == nil:
		return pathError("remove", name, fs.ErrInvalid)
	}
	if sub, ok := n.(*memDir); ok && len(sub.seen) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.unlink(d, last, n)
	return nil
}

// unlink removes a file or an empty directory. An open file stays readable,
// but its bytes no longer count as used.
func (m *Mem) unlink(d *memDir, name string, n memNode) {
	if f, ok := n.(*memFile); ok {
		f.mu.Lock()
		m.used.Add(-int64(len(f.seen)))
		f.fs = nil
		f.mu.Unlock()
	}
	m.change(&nameOp{from: d, fromName: name})
}

func (m *Mem) RemoveAll(name string) error {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, last, n, err := m.lookup(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && n == nil {
		return nil
	}
	if err != nil {
		return pathError("removeall", name, err)
	}
	m.removeTree(d, last, n)
	return nil
}

func (m *Mem) removeTree(d *memDir, name string, n memNode) {
	if sub, ok := n.(*memDir); ok {
		for _, e := range slices.Sorted(maps.Keys(sub.seen)) {
			m.removeTree(sub, e, sub.seen[e])
		}
	}
	if d != nil {
		m.unlink(d, name, n)
	}
}

func (m *Mem) Rename(oldName, newName string) error {
	m.ns.Lock()
	defer m.ns.Unlock()
	from, fromName, n, err := m.lookup(oldName)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	if err == nil && from == nil {
		err = fs.ErrInvalid
	}
	if err != nil {
		return pathError("rename", oldName, err)
	}
	to, toName, old, err := m.lookup(newName)
	if err == nil && to == nil {
		err = fs.ErrExist
	}
	if err != nil {
		return pathError("rename", newName, err)
	}
	_, nIsDir := n.(*memDir)
	switch old := old.(type) {
	case *memFile:
		if old == n {
			return nil
		}
		if nIsDir {
			return pathError("rename", newName, syscall.ENOTDIR)
		}
		old.mu.Lock()
		m.used.Add(-int64(len(old.seen)))
		old.fs = nil
		old.mu.Unlock()
	case *memDir:
		return pathError("rename", newName, fs.ErrExist) // as os.Rename has it
	}
	for d := to; nIsDir && d != nil; d = d.parent {
		if d == n {
			return pathError("rename", newName, fs.ErrInvalid) // into itself
		}
	}
	m.change(&nameOp{from: from, fromName: fromName, to: to, toName: toName, node: n})
	return nil
}

func (m *Mem) MkdirAll(name string) error {
	m.ns.Lock()
	defer m.ns.Unlock()
	d := m.root
	for _, e := range split(name) {
		switch n := d.seen[e].(type) {
		case *memDir:
			d = n
		case *memFile:
			return pathError("mkdir", name, syscall.ENOTDIR)
		default:
			sub := newMemDir()
			m.change(&nameOp{to: d, toName: e, node: sub})
			d = sub
		}
	}
	return nil
}

func (m *Mem) List(dir string) ([]fs.DirEntry, error) {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, err := m.dir(split(dir))
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	entries := make([]fs.DirEntry, 0, len(d.seen))
	for _, name := range slices.Sorted(maps.Keys(d.seen)) {
		entries = append(entries, fs.FileInfoToDirEntry(infoOf(name, d.seen[name])))
	}
	return entries, nil
}

func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.ns.Lock()
	defer m.ns.Unlock()
	_, last, n, err := m.lookup(name)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return infoOf(last, n), nil
}

type memInfo struct {
	name string
	size int64
	dir  bool
	mod  time.Time
}

func infoOf(name string, n memNode) memInfo {
	f, ok := n.(*memFile)
	if !ok {
		return memInfo{name: name, dir: true}
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return memInfo{name: name, size: int64(len(f.seen)), mod: f.mod}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.mod }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

func (m *Mem) SyncDir(dir string) error {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, err := m.dir(split(dir))
	if err != nil {
		return pathError("syncdir", dir, err)
	}
	d.sync()
	return nil
}

// sync makes d's names durable. A rename that joins two directories is one
// act on every file system with a journal, so the other is synced as well.
func (d *memDir) sync() {
	var ops []*nameOp
	for joined := []*memDir{d}; len(joined) > 0; joined = joined[1:] {
		pending := joined[0].pending
		joined[0].pending = nil
		ops = append(ops, pending...)
		for _, op := range pending {
			for _, other := range []*memDir{op.from, op.to} {
				if other != nil && len(other.pending) > 0 {
					joined = append(joined, other)
				}
			}
		}
	}
	slices.SortFunc(ops, (*nameOp).compare)
	for _, op := range ops { // one that joins stands there twice, in a row
		op.apply(func(d *memDir) map[string]memNode { return d.durable })
	}
}

func (m *Mem) SyncFS(dir string) error {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, err := m.dir(split(dir))
	if err != nil {
		return pathError("syncfs", dir, err)
	}
	d.syncTree()
	return nil
}

func (d *memDir) syncTree() {
	if len(d.pending) > 0 {
		d.sync()
	}
	for _, n := range d.seen {
		switch n := n.(type) {
		case *memDir:
			n.syncTree()
		case *memFile:
			n.sync()
		}
	}
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	m.ns.Lock()
	defer m.ns.Unlock()
	d, last, n, err := m.lookup(name)
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	key := strings.Join(split(name), "/")
	if m.locks[key] != nil {
		return nil, pathError("lock", name, ErrLocked)
	}
	if n == nil {
		m.change(&nameOp{to: d, toName: last, node: &memFile{fs: m, mod: m.now(), clean: true}})
	}
	l := &memLock{m: m, key: key}
	m.locks[key] = l
	return l, nil
}

type memLock struct {
	m   *Mem
	key string
}

func (l *memLock) Close() error {
	l.m.ns.Lock()
	defer l.m.ns.Unlock()
	if l.m.locks[l.key] != l {
		return fs.ErrClosed
	}
	delete(l.m.locks, l.key)
	return nil
}

func (m *Mem) Usage(dir string) (Usage, error) {
	if _, err := m.Stat(dir); err != nil {
		return Usage{}, err
	}
	return Usage{Total: memTotal, Free: memTotal - m.used.Load()}, nil
}

// memHandle is an open file.
type memHandle struct {
	m        *Mem
	f        *memFile
	name     string
	writable bool
	life     int64
	closed   atomic.Bool
}

func (m *Mem) handle(f *memFile, name string, writable bool) *memHandle {
	return &memHandle{m: m, f: f, name: name, writable: writable, life: m.life.Load()}
}

func (h *memHandle) Name() string { return h.name }

func (h *memHandle) check(op string, write bool) error {
	if h.closed.Load() || h.life != h.m.life.Load() {
		return pathError(op, h.name, fs.ErrClosed)
	}
	if write && !h.writable {
		return pathError(op, h.name, syscall.EBADF)
	}
	return nil
}

func (h *memHandle) Close() error {
	if h.closed.Swap(true) {
		return pathError("close", h.name, fs.ErrClosed)
	}
	return nil
}

func (h *memHandle) Size() (int64, error) {
	if err := h.check("size", false); err != nil {
		return 0, err
	}
	h.f.mu.RLock()
	defer h.f.mu.RUnlock()
	return int64(len(h.f.seen)), nil
}

func (h *memHandle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", h.name, fs.ErrInvalid)
	}
	h.f.mu.RLock()
	defer h.f.mu.RUnlock()
	if off >= int64(len(h.f.seen)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, h.f.seen[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *memHandle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", h.name, fs.ErrInvalid)
	}
	if len(p) > 0 {
		h.m.world.RLock()
		defer h.m.world.RUnlock()
		h.f.write(dataOp{off: off, data: slices.Clone(p)})
	}
	return len(p), nil
}

func (h *memHandle) Truncate(size int64) error {
	if err := h.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", h.name, fs.ErrInvalid)
	}
	h.m.world.RLock()
	defer h.m.world.RUnlock()
	h.f.write(dataOp{off: size, truncate: true})
	return nil
}

func (h *memHandle) Sync() error {
	if err := h.check("sync", false); err != nil {
		return err
	}
	h.m.world.RLock()
	defer h.m.world.RUnlock()
	h.f.sync()
	return nil
}

func (h *memHandle) Datasync() error { return h.Sync() }

func (h *memHandle) Preallocate(off, n int64) error { return h.check("preallocate", true) }
func (h *memHandle) DropCache(off, n int64)         {}
func (h *memHandle) WriteBack()                     {}
func (h *memHandle) Absent(off, n int64) int64      { return 0 }
func (h *memHandle) Load(off, n int64)              {}
func (h *memHandle) ReadAhead(on bool)              {}
func (h *memHandle) SysFd() (uintptr, bool)         { return 0, false }

func (f *memFile) write(op dataOp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clean {
		f.durable, f.clean = f.seen[:len(f.seen):len(f.seen)], false
	}
	// The durable side shares memory with what is seen as long as changes
	// only append.
	if op.off < int64(len(f.durable)) && len(f.seen) > 0 && &f.durable[0] == &f.seen[0] {
		f.seen = slices.Clone(f.seen)
	}
	before := len(f.seen)
	f.seen = op.apply(f.seen)
	f.pending = append(f.pending, op)
	if f.fs != nil {
		f.fs.used.Add(int64(len(f.seen) - before))
		f.mod = f.fs.now()
	}
}

// apply returns b with the change made, in place where there is room.
func (op dataOp) apply(b []byte) []byte {
	if op.truncate {
		if op.off <= int64(len(b)) {
			return b[:op.off]
		}
		return extend(b, op.off)
	}
	b = extend(b, op.off+int64(len(op.data)))
	copy(b[op.off:], op.data)
	return b
}

// extend grows b with zeros to at least size.
func extend(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b
	}
	if size <= int64(cap(b)) {
		grown := b[:size]
		clear(grown[len(b):])
		return grown
	}
	return append(b, make([]byte, size-int64(len(b)))...)
}

func (f *memFile) sync() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.durable, f.pending, f.clean = nil, nil, true
}
