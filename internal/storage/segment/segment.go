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

// FileName is the name of a file that belongs to base.
func FileName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

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
	// log is not compacted). A last batch behind a gap is not believed then, if it
	// ends above what is known to be durable.
	Dense bool
	// Doubt says what is wrong with a batch whose checksum is right, "" when
	// nothing is: the log's view of what the checksum does not cover. Nil: none.
	Doubt func(v batch.View) string
}

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
	spare     bool       // the file may have blocks behind its end
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
		} else {
			s.cfg.Files.Forget(from) // another segment may get that name
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

// Modified is when the log file was last written, or when the segment was
// opened if that cannot be told.
func (s *Segment) Modified() time.Time {
	fi, err := s.cfg.Files.fs.Stat(s.Path(LogSuffix))
	if err != nil {
		return s.created
	}
	return fi.ModTime()
}
