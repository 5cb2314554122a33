// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"io/fs"
	"math"

	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

var indexSuffixes = []string{IndexSuffix, TimeSuffix, TxnSuffix}

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

// Rebuild reads the whole segment, makes its offset and time index anew, and
// notes what is damaged.
func (s *Segment) Rebuild(reason string) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return s.rebuildLocked(s.Path(IndexSuffix), reason)
}

func (s *Segment) rebuildLocked(path, reason string) error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	size, next := s.Tail()
	inMemory := s.offsets.Load() != nil
	known := s.Damages()
	if next <= s.base {
		next = math.MaxInt64 // not known yet
	}
	r, err := s.recoverLocked(h, size, next, math.MaxInt64, math.MaxInt64, nil)
	if err != nil {
		return err
	}
	if next == math.MaxInt64 {
		next = r.Next
	}
	s.mu.Lock()
	s.size = size
	if s.next < next {
		s.next = next // the end is damaged; offsets are not given twice
	}
	s.mu.Unlock()
	if len(r.Damage) > 0 {
		if last := r.Damage[len(r.Damage)-1]; last.Next < 0 {
			last.Next = next
		}
	} else if s.cfg.Hooks.Rebuilt != nil {
		s.cfg.Hooks.Rebuilt(path, reason)
	}
	for _, d := range r.Damage {
		if s.cfg.Hooks.Damaged != nil && !sameHole(known, d) {
			s.cfg.Hooks.Damaged(d)
		}
	}
	if inMemory {
		return nil
	}
	// The files of a sealed segment are written anew, and stay in memory until
	// the next start should that fail.
	s.mu.Lock()
	in := s.txnsIn
	s.mu.Unlock()
	if err := s.writeIndexesLocked(false); err == nil && !in {
		s.cfg.Files.Forget(s.Path(IndexSuffix))
	}
	return nil
}
