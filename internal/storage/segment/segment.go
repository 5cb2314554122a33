// SPDX-License-Identifier: Apache-2.0

// Package segment is one base offset's files: NNN.log with whole record
// batches one after the other, and its indexes. It finds batches by offset,
// position and time, checks bytes before they are first served, recovers after
// a crash, and rebuilds indexes that are damaged or missing. It knows nothing
// of other segments, of what is committed, or when to roll.
//
// Invariants:
//   - Size and next offset only grow, but for Truncate.
//   - No byte is handed out by Find that was not appended or checked since the
//     segment was opened: spans of checked bytes are kept, and what lies
//     outside is read and checked first.
//   - Damaged bytes stay in the file. They are a Damage: a hole that readers
//     are told of and walks step over.
//
// Concurrency: Append, Truncate, Seal and Rebuild exclude each other (wmu);
// readers take only the small lock mu, never across a file call. Lifetime is
// by reference: the owner's one, and one for each reader; the files go when
// the last is released after Remove.
package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/batch"
	"gregor/internal/invariant"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

// Suffixes of a segment's files.
const (
	LogSuffix      = ".log"
	IndexSuffix    = ".index"
	TimeSuffix     = ".timeindex"
	TxnSuffix      = ".txnindex"
	SnapshotSuffix = ".snapshot"
	DeletedSuffix  = ".deleted"
	CleanedSuffix  = ".cleaned"
	SwapSuffix     = ".swap"
)

var indexSuffixes = []string{IndexSuffix, TimeSuffix, TxnSuffix}

// FileName is the name of a file that belongs to base.
func FileName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// Damage is a hole in a segment: bytes [Pos, End) that are no valid batches,
// where offsets [First, Next) should be.
type Damage struct {
	Path        string
	Pos, End    int64
	First, Next int64
	Reason      string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("segment: %s is damaged at byte %d (offset %d): %s", d.Path, d.Pos, d.First, d.Reason)
}

// Hooks tell of what a segment finds. They are called without locks held but
// wmu, and must not block.
type Hooks struct {
	Damaged func(*Damage)
	Rebuilt func(path, reason string)
}

// Config is what a segment must know.
type Config struct {
	Files *Files
	Hooks Hooks
	// IndexInterval is the number of bytes between index entries.
	IndexInterval int
	// Dense: offsets follow one another without gaps, as far as is known (the
	// log is not compacted). A last batch behind a gap is not believed then.
	Dense bool
	// Doubt says what is wrong with a batch whose checksum is right, "" when
	// nothing is: the log's view of what the checksum does not cover. Nil: none.
	Doubt func(v batch.View) string
}

// doubtError ends a walk at a batch that Config.Doubt does not believe.
type doubtError struct{ reason string }

func (e *doubtError) Error() string { return e.reason }

func (s *Segment) doubt(v batch.View) error {
	if s.cfg.Doubt == nil {
		return nil
	}
	if reason := s.cfg.Doubt(v); reason != "" {
		return &doubtError{reason}
	}
	return nil
}

// asReason takes errors of visitors that are about a batch for reasons.
func asReason(reason string, err error) (string, error) {
	var d *doubtError
	if errors.As(err, &d) || errors.Is(err, errOffsetTooFar) {
		return err.Error(), nil
	}
	return reason, err
}

type span struct{ from, upTo int64 }
type mark struct{ offset, pos int64 }

const (
	marksMax = 128
	spansMax = 256
)

// Segment is one segment.
type Segment struct {
	base int64
	cfg  Config
	refs atomic.Int32

	wmu       sync.Mutex // one writer at a time
	sinceLast int64      // bytes since the last index entry
	firstTime int64      // of the first batch; unknown when < -1
	active    bool       // takes appends: the indexes stay in memory
	zeroed    int64      // the file may reach up to here, zeroes behind the end; see ahead.go
	created   time.Time

	offsets atomic.Pointer[index.Offset] // nil: in the file
	times   atomic.Pointer[index.Time]   // nil: in the file

	mu      sync.Mutex // guards what follows; leaf
	dir     string
	suffix  string // of all files: "", .deleted, .cleaned, .swap
	size    int64
	next    int64
	maxTime index.TimeEntry
	marks   []mark // boundaries of batches seen lately
	markAt  int
	checked []span // ascending, disjoint
	damage  []*Damage
	txns    []index.AbortedTxn // nil with txnsIn: none
	txnsIn  bool               // txns holds the index; else it is in the file
	removed bool

	// logPath is the log file's path under logPathDir and logPathSuffix.
	logPath, logPathDir, logPathSuffix string
}

func newSegment(cfg Config, dir string, base int64) *Segment {
	s := &Segment{base: base, cfg: cfg, dir: dir, next: base, firstTime: -2,
		maxTime: index.TimeEntry{Timestamp: -1, Offset: base}, created: time.Now()}
	s.refs.Store(1)
	return s
}

// Create makes an empty segment; suffix is "" or CleanedSuffix.
func Create(cfg Config, dir string, base int64, suffix string) (*Segment, error) {
	s := newSegment(cfg, dir, base)
	s.suffix = suffix
	s.active = true
	s.offsets.Store(index.NewOffset(base))
	s.times.Store(index.NewTime(base))
	s.txnsIn = true
	h, err := cfg.Files.Create(s.Path(LogSuffix))
	if errors.Is(err, fs.ErrExist) {
		// Left over from a roll that failed: it holds nothing that counts.
		if h, err = cfg.Files.Acquire(s.Path(LogSuffix)); err == nil {
			if err = h.Truncate(0); err != nil {
				h.Release()
			}
		}
	}
	if err != nil {
		return nil, err
	}
	h.Release()
	return s, nil
}

// Known is what a trusted catalogue says of a segment.
type Known struct {
	Base, Size, Next        int64
	MaxTimestamp, MaxOffset int64
}

// Open opens a sealed segment whose size and end are known. No file is
// touched.
func Open(cfg Config, dir string, k Known) *Segment {
	s := newSegment(cfg, dir, k.Base)
	s.size, s.next = k.Size, k.Next
	s.maxTime = index.TimeEntry{Timestamp: k.MaxTimestamp, Offset: k.MaxOffset}
	return s
}

// Base is the segment's first possible offset.
func (s *Segment) Base() int64 { return s.base }

// Path is the path of one of the segment's files.
func (s *Segment) Path(kind string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pathLocked(kind)
}

// pathLocked keeps the log file's path: every read asks for it.
func (s *Segment) pathLocked(kind string) string {
	if kind != LogSuffix {
		return filepath.Join(s.dir, FileName(s.base, kind)+s.suffix)
	}
	if s.logPath == "" || s.logPathDir != s.dir || s.logPathSuffix != s.suffix {
		s.logPath = filepath.Join(s.dir, FileName(s.base, kind)+s.suffix)
		s.logPathDir, s.logPathSuffix = s.dir, s.suffix
	}
	return s.logPath
}

// Tail is the segment's size in bytes and the offset after its last batch.
func (s *Segment) Tail() (size, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.next
}

// MaxTime is the largest timestamp and the last offset of its batch.
func (s *Segment) MaxTime() index.TimeEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxTime
}

// Created is when this process created or opened the segment.
func (s *Segment) Created() time.Time { return s.created }

// Acquire adds a reader; false when the segment is already gone.
func (s *Segment) Acquire() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends a use. After the last one, a removed segment's files go.
func (s *Segment) Release() {
	n := s.refs.Add(-1)
	invariant.Holds(n >= 0, "segment %d released too often", s.base)
	if n > 0 {
		return
	}
	s.mu.Lock()
	removed := s.removed
	s.mu.Unlock()
	if removed {
		s.unlink()
	}
}

// Remove lets the files be removed at the last release; it releases the
// owner's reference.
func (s *Segment) Remove() {
	s.mu.Lock()
	s.removed = true
	s.mu.Unlock()
	s.Release()
}

func (s *Segment) unlink() {
	for _, kind := range append([]string{LogSuffix}, indexSuffixes...) {
		path := s.Path(kind)
		s.cfg.Files.Forget(path)
		_ = s.cfg.Files.fs.Remove(path) // a leftover goes at the next start
	}
}

// Moved tells the segment that its directory has another name now.
func (s *Segment) Moved(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.pathLocked(LogSuffix)
	s.dir = dir
	s.cfg.Files.Renamed(from, s.pathLocked(LogSuffix))
}

// Rename gives all files another suffix. Missing ones are left out.
func (s *Segment) Rename(suffix string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.suffix
	for _, kind := range append(slices.Clone(indexSuffixes), LogSuffix) {
		s.suffix = old
		from := s.pathLocked(kind)
		s.suffix = suffix
		to := s.pathLocked(kind)
		err := s.cfg.Files.fs.Rename(from, to)
		if err != nil && (kind == LogSuffix || !errors.Is(err, fs.ErrNotExist)) {
			s.suffix = old
			return err
		}
		if kind == LogSuffix {
			s.cfg.Files.Renamed(from, to)
		}
	}
	return nil
}

// File opens the log file.
func (s *Segment) File() (*Handle, error) {
	s.mu.Lock()
	path := s.pathLocked(LogSuffix)
	s.mu.Unlock()
	h, err := s.cfg.Files.Acquire(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return h, err
	}
	// Renamed meanwhile.
	return s.cfg.Files.Acquire(s.Path(LogSuffix))
}

// Append writes b, the bytes of vs one after the other, at the end. The
// offsets are stamped. On an error nothing is changed but, perhaps, bytes past
// the end, which Undo removes. h is the open log file.
//
// The file is kept ahead.Bytes longer than its content, at most; see ahead.go.
func (s *Segment) Append(h vfs.File, b []byte, vs []batch.View, ahead Ahead) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	pos, _ := s.Tail()
	if err := s.zeroAhead(h, pos, pos+int64(len(b)), ahead); err != nil {
		return err
	}
	if _, err := h.WriteAt(b, pos); err != nil {
		return err
	}
	offsets, times := s.offsets.Load(), s.times.Load()
	latest := s.MaxTime()
	at := pos
	for _, v := range vs {
		last := v.LastOffset()
		if ts := v.MaxTimestamp(); ts > latest.Timestamp {
			latest = index.TimeEntry{Timestamp: ts, Offset: last}
		}
		if s.firstTime < -1 && at == 0 {
			s.firstTime = v.MaxTimestamp()
		}
		if s.sinceLast > int64(s.cfg.IndexInterval) {
			offsets.Append(last, at)
			times.Append(latest.Timestamp, latest.Offset)
			s.sinceLast = 0
		}
		at += int64(len(v))
		s.sinceLast += int64(len(v))
	}
	s.mu.Lock()
	s.size, s.next, s.maxTime = at, vs[len(vs)-1].NextOffset(), latest
	s.markLocked(s.next, at)
	s.checkedLocked(span{pos, at})
	s.mu.Unlock()
	return nil
}

// Undo removes what a failed Append may have left past the end.
func (s *Segment) Undo(h vfs.File) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	size, _ := s.Tail()
	if err := h.Truncate(size); err != nil {
		return err
	}
	s.zeroed = 0
	return nil
}

// IndexFull says that another append might not fit the indexes.
func (s *Segment) IndexFull(maxBytes int) bool {
	offsets, times := s.offsets.Load(), s.times.Load()
	return offsets != nil && offsets.Len() >= maxBytes/index.OffsetEntrySize ||
		times != nil && times.Len() >= maxBytes/index.TimeEntrySize-1
}

// FirstTimestamp is the largest timestamp of the first batch, by which the
// segment's age is counted; -1 when there is none.
func (s *Segment) FirstTimestamp() int64 {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.firstTime >= -1 {
		return s.firstTime
	}
	size, _ := s.Tail()
	if size == 0 {
		return -1
	}
	h, err := s.File()
	if err != nil {
		return -1
	}
	defer h.Release()
	_, _, _ = Walk(h, 0, size, s.base, false, func(_ int64, v batch.View) error {
		s.firstTime = v.MaxTimestamp()
		return errStop
	})
	return max(s.firstTime, -1)
}

func (s *Segment) markLocked(offset, pos int64) {
	if len(s.marks) < marksMax {
		s.marks = append(s.marks, mark{offset, pos})
		s.markAt = len(s.marks)
		return
	}
	s.markAt %= marksMax
	s.marks[s.markAt] = mark{offset, pos}
	s.markAt++
}

// marked finds the position of a boundary seen lately.
func (s *Segment) marked(offset int64) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(s.marks); i++ {
		m := s.marks[(s.markAt-1-i+2*marksMax)%len(s.marks)]
		if m.offset == offset {
			return m.pos, true
		}
	}
	return 0, false
}

func (s *Segment) checkedLocked(n span) {
	if n.from >= n.upTo {
		return
	}
	if k := len(s.checked); k > 0 && s.checked[k-1].upTo == n.from { // the common case
		s.checked[k-1].upTo = n.upTo
		return
	}
	i := 0
	for i < len(s.checked) && s.checked[i].upTo < n.from {
		i++
	}
	j := i
	for j < len(s.checked) && s.checked[j].from <= n.upTo {
		n.from, n.upTo = min(n.from, s.checked[j].from), max(n.upTo, s.checked[j].upTo)
		j++
	}
	s.checked = slices.Replace(s.checked, i, j, n)
	if len(s.checked) > spansMax { // forget the smallest: it is checked again
		small := 0
		for k, c := range s.checked {
			if c.upTo-c.from < s.checked[small].upTo-s.checked[small].from {
				small = k
			}
		}
		s.checked = slices.Delete(s.checked, small, small+1)
	}
}

// unchecked returns the first part of [from, upTo) that was not checked yet.
func (s *Segment) unchecked(from, upTo int64) (span, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.checked {
		if c.from <= from && from < c.upTo {
			from = c.upTo
		} else if from < c.from {
			upTo = min(upTo, c.from)
			break
		}
		if from >= upTo {
			return span{}, false
		}
	}
	return span{from, upTo}, from < upTo
}

// Truncate removes the batches from the one that holds offset on; it returns
// the new size and end.
func (s *Segment) Truncate(offset int64) (size, next int64, err error) {
	pos, base, err := s.Locate(offset)
	if err != nil {
		return 0, 0, err
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	h, err := s.File()
	if err != nil {
		return 0, 0, err
	}
	defer h.Release()
	old, next := s.Tail()
	if pos >= old {
		return old, next, nil
	}
	// Compaction leaves gaps: the batch may begin above offset, and what the
	// log lost between is to be fetched again all the same.
	base = min(base, offset)
	if err := h.Truncate(pos); err != nil {
		return 0, 0, err
	}
	s.zeroed = 0
	if err := s.cutLocked(h, pos, base); err != nil {
		return 0, 0, err
	}
	return pos, base, nil
}

// cutLocked drops from memory what is known of [pos, ...), with wmu held. The
// new end is end.
func (s *Segment) cutLocked(h vfs.File, pos, end int64) error {
	if err := s.loadIndexes(); err != nil {
		return err
	}
	s.offsets.Load().Truncate(pos)
	s.times.Load().Truncate(end)
	latest := index.TimeEntry{Timestamp: -1, Offset: s.base}
	from := int64(0)
	if e, ok := s.times.Load().Last(); ok {
		latest = e
		// What follows the last time entry is not indexed: look at it.
		if o, ok := s.offsets.Load().Lookup(e.Offset); ok {
			from = o.Position
		}
	}
	_, _, err := Walk(h, from, pos, s.base, false, func(_ int64, v batch.View) error {
		if v.MaxTimestamp() > latest.Timestamp {
			latest = index.TimeEntry{Timestamp: v.MaxTimestamp(), Offset: v.LastOffset()}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if pos == 0 {
		s.firstTime = -2
	}
	s.sinceLast = 0
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size, s.next, s.maxTime = pos, end, latest
	s.marks, s.markAt = nil, 0
	for i := range s.checked {
		s.checked[i].upTo = min(s.checked[i].upTo, pos)
	}
	s.checked = slices.DeleteFunc(s.checked, func(c span) bool { return c.from >= c.upTo })
	s.damage = slices.DeleteFunc(s.damage, func(d *Damage) bool { return d.Pos >= pos })
	if s.txnsIn {
		s.txns = slices.DeleteFunc(s.txns, func(t index.AbortedTxn) bool { return t.LastOffset >= end })
	}
	return nil
}

// loadIndexes brings the indexes into memory, reading or rebuilding them; wmu
// is held.
func (s *Segment) loadIndexes() error {
	if s.offsets.Load() != nil && s.times.Load() != nil {
		return nil
	}
	size, _ := s.Tail()
	x, reason := readIndex(s, IndexSuffix, index.ParseOffset)
	t, reason2 := readIndex(s, TimeSuffix, index.ParseTime)
	if reason == "" && size > 0 {
		if e, ok := x.Before(1 << 62); ok && e.Position >= size {
			reason = "it points beyond the end of the segment"
		}
	}
	if reason == "" && reason2 == "" {
		s.offsets.Store(x)
		s.times.Store(t)
		return nil
	}
	return s.rebuildLocked(s.Path(IndexSuffix), reason+reason2)
}

func readIndex[T any](s *Segment, kind string, parse func(int64, []byte) (T, error)) (t T, reason string) {
	b, err := vfs.ReadFile(s.cfg.Files.fs, s.Path(kind))
	if err == nil {
		t, err = parse(s.base, b)
	}
	if err != nil {
		return t, err.Error()
	}
	return t, ""
}

// Activate makes an opened segment ready for appends: its indexes are brought
// into memory, its transaction index too.
func (s *Segment) Activate() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.loadIndexes(); err != nil {
		return err
	}
	ts, err := s.Aborted()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.txns, s.txnsIn = ts, true
	s.mu.Unlock()
	s.active = true
	return nil
}

// Retire says that there will be no more appends, so that Seal may follow.
func (s *Segment) Retire() {
	s.wmu.Lock()
	s.active = false
	s.wmu.Unlock()
}

// AddAborted adds an entry to the transaction index of an active segment.
func (s *Segment) AddAborted(t index.AbortedTxn) {
	s.mu.Lock()
	s.txns = append(s.txns, t)
	s.mu.Unlock()
}

// Aborted returns the transaction index.
func (s *Segment) Aborted() ([]index.AbortedTxn, error) {
	s.mu.Lock()
	if s.txnsIn {
		defer s.mu.Unlock()
		return s.txns[:len(s.txns):len(s.txns)], nil
	}
	path := s.pathLocked(TxnSuffix)
	s.mu.Unlock()
	b, err := vfs.ReadFile(s.cfg.Files.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ts, err := index.ParseTxns(s.base, b)
	if err != nil {
		return nil, &BadIndexError{Path: path, Err: err}
	}
	return ts, nil
}

// SetAborted replaces the transaction index, when it was rebuilt.
func (s *Segment) SetAborted(ts []index.AbortedTxn) {
	s.mu.Lock()
	s.txns, s.txnsIn = ts, true
	s.mu.Unlock()
}

// BadIndexError is a transaction index that must be rebuilt.
type BadIndexError struct {
	Path string
	Err  error
}

func (e *BadIndexError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *BadIndexError) Unwrap() error { return e.Err }

// WriteIndexes writes the indexes in memory to their files, and syncs them
// when sync. The time index ends with the segment's largest timestamp.
func (s *Segment) WriteIndexes(sync bool) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return s.writeIndexesLocked(sync)
}

func (s *Segment) writeIndexesLocked(sync bool) error {
	x, t := s.offsets.Load(), s.times.Load()
	if x != nil {
		if err := s.writeFile(IndexSuffix, x.AppendTo(nil), sync); err != nil {
			return err
		}
	}
	if t != nil {
		latest := s.MaxTime()
		t.Append(latest.Timestamp, latest.Offset)
		if err := s.writeFile(TimeSuffix, t.AppendTo(nil), sync); err != nil {
			return err
		}
	}
	s.mu.Lock()
	ts, in := s.txns, s.txnsIn
	s.mu.Unlock()
	if !in {
		return nil
	}
	if len(ts) == 0 {
		err := s.cfg.Files.fs.Remove(s.Path(TxnSuffix))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return err
	}
	var b []byte
	for _, e := range ts {
		b = index.AppendTxn(b, e)
	}
	return s.writeFile(TxnSuffix, b, sync)
}

// writeFile writes one index file. It needs no atomic replacement: what a
// crash leaves is rebuilt, because the recovery point moves past the segment
// only after this.
func (s *Segment) writeFile(kind string, b []byte, sync bool) error {
	fsys, path := s.cfg.Files.fs, s.Path(kind)
	f, err := fsys.OpenRW(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.Create(path)
	}
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Seal writes and syncs the data and the indexes, and drops the latter from
// memory. A segment that takes appends again (a truncation made it the last)
// is left as it is.
func (s *Segment) Seal() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.active {
		return nil
	}
	h, err := s.File()
	if err != nil {
		return err
	}
	if err = s.trimLocked(h); err != nil {
		h.Release()
		return err
	}
	err = h.Datasync()
	h.Release()
	if err != nil {
		return &SyncError{Path: s.Path(LogSuffix), Err: err}
	}
	if err := s.writeIndexesLocked(true); err != nil {
		return err
	}
	s.offsets.Store(nil)
	s.times.Store(nil)
	s.mu.Lock()
	s.txns, s.txnsIn = nil, false
	s.mu.Unlock()
	return nil
}

// SyncError is a failed sync of data, after which nothing written is certain.
type SyncError struct {
	Path string
	Err  error
}

func (e *SyncError) Error() string { return "sync " + e.Path + ": " + e.Err.Error() }
func (e *SyncError) Unwrap() error { return e.Err }
