// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"io/fs"

	"gregor/internal/batch"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

// Range is a run of whole batches in a segment's file.
type Range struct {
	Pos, N int64
	// First is the base offset of the first batch, Next what follows the last:
	// the next read goes on there.
	First, Next int64
}

const indexWrong = "an index entry names no batch"

// Find returns the batches from the one that holds offset from (or the first
// above it) up to offset upTo, at most maxBytes of them, with minOne at least
// one, all checked. N is 0 when there are none in this segment. The error is a
// *Damage when from falls into a hole.
func (s *Segment) Find(h vfs.File, from, upTo, maxBytes int64, minOne bool) (Range, error) {
	var r Range
	err := s.repairing(from, func() (pos int64, bad string, err error) {
		r, bad, err = s.find(h, from, upTo, maxBytes, minOne)
		return r.Pos, bad, err
	})
	return r, err
}

// Locate finds the first batch that ends at or above offset: its position and
// base offset; of an offset beyond the last batch, the segment's end.
func (s *Segment) Locate(offset int64) (pos, base int64, err error) {
	h, err := s.File()
	if err != nil {
		return 0, 0, err
	}
	defer h.Release()
	err = s.repairing(offset, func() (_ int64, bad string, err error) {
		size, next := s.Tail()
		pos, base, bad, err = s.locate(h, offset, size, next)
		return pos, bad, err
	})
	return pos, base, err
}

// Near is where the batch that holds offset lies, or somewhat before it, as far
// as the index tells.
func (s *Segment) Near(offset int64) (pos int64, ok bool) {
	if pos, ok := s.marked(offset); ok {
		return pos, true
	}
	e, _, bad, err := s.entryFor(func(x *index.Offset) (index.Entry, bool) { return x.Lookup(offset) },
		func(h vfs.File, size int64) (index.Entry, bool, error) {
			return index.LookupFile(h, size, s.base, offset)
		})
	return e.Position, err == nil && bad == ""
}

// repairing runs op. When op finds an index, a frame or a checksum wrong, the
// whole segment is read to learn which, and op runs again.
func (s *Segment) repairing(offset int64, op func() (pos int64, bad string, err error)) error {
	for try := 0; ; try++ {
		pos, bad, err := op()
		if err != nil || bad == "" {
			return err
		}
		if try == 2 { // it changes under our hands
			return &Damage{Path: s.Path(LogSuffix), Pos: pos, First: offset, Next: -1, Reason: bad}
		}
		if err := s.Rebuild(bad); err != nil {
			return err
		}
	}
}

func (s *Segment) find(h vfs.File, from, upTo, maxBytes int64, minOne bool) (r Range, bad string, err error) {
	size, next := s.Tail()
	if from >= next {
		return Range{Pos: size, First: next, Next: next}, "", nil
	}
	pos, base, bad, err := s.locate(h, from, size, next)
	if err != nil || bad != "" {
		return Range{Pos: pos}, bad, err
	}
	r = Range{Pos: pos, First: base, Next: base}
	hole, inside := s.holeAt(from, pos)
	if inside {
		return r, "", hole
	}
	stop, stopOffset := size, next
	if upTo < next {
		if stop, stopOffset, bad, err = s.locate(h, upTo, size, next); err != nil || bad != "" {
			return Range{Pos: stop}, bad, err
		}
	}
	if hole != nil && hole.Pos < stop {
		stop, stopOffset = hole.Pos, hole.First
	}
	if stop <= pos {
		return r, "", nil
	}
	if stop-pos > maxBytes {
		if stop, stopOffset, bad, err = s.fit(h, pos, base, stop, pos+maxBytes, minOne); err != nil || bad != "" {
			return Range{Pos: stop}, bad, err
		}
	}
	if at, bad, err := s.check(h, pos, stop); err != nil || bad != "" {
		return Range{Pos: at}, bad, err
	}
	r.N, r.Next = stop-pos, stopOffset
	if r.N > 0 && stop < size {
		s.mu.Lock()
		s.markLocked(stopOffset, stop)
		s.mu.Unlock()
	}
	return r, "", nil
}

// locate is Locate within the first size bytes, which end at offset next.
func (s *Segment) locate(h vfs.File, offset, size, next int64) (pos, base int64, bad string, err error) {
	if offset >= next {
		return size, next, "", nil
	}
	if s.cfg.Dense { // else the batch at a boundary may begin above it
		if pos, ok := s.marked(offset); ok && pos < size {
			return pos, offset, "", nil
		}
	}
	e, ok, bad, err := s.entryFor(func(x *index.Offset) (index.Entry, bool) { return x.Lookup(offset) },
		func(h vfs.File, size int64) (index.Entry, bool, error) {
			return index.LookupFile(h, size, s.base, offset)
		})
	if err != nil || bad != "" {
		return 0, 0, bad, err
	}
	pos, base = size, next
	bad, err = s.hop(h, e, ok, size, func(p int64, v batch.View) error {
		if v.LastOffset() < offset {
			return nil
		}
		pos, base = p, v.BaseOffset()
		return errStop
	})
	return pos, base, bad, err
}

// fit finds the last boundary in (pos, limit], or after the first batch when
// minOne and that one is larger.
func (s *Segment) fit(h vfs.File, pos, base, stop, limit int64, minOne bool) (at, offset int64, bad string, err error) {
	e, ok, bad, err := s.entryFor(func(x *index.Offset) (index.Entry, bool) { return x.Before(limit) },
		func(h vfs.File, size int64) (index.Entry, bool, error) {
			return index.BeforeFile(h, size, s.base, limit)
		})
	if err != nil || bad != "" {
		return 0, 0, bad, err
	}
	if !ok || e.Position <= pos {
		e, ok = index.Entry{Position: pos}, false
	}
	at, offset = pos, base
	bad, err = s.hop(h, e, ok, stop, func(p int64, v batch.View) error {
		if p > pos && p <= limit {
			at, offset = p, v.BaseOffset()
		}
		if end := p + int64(v.Size()); end <= limit || minOne && p == pos {
			at, offset = end, v.NextOffset()
			return nil
		}
		return errStop
	})
	return at, offset, bad, err
}

// hop visits headers from entry e on, stepping over holes. When known, the
// first batch must be the one that e names.
func (s *Segment) hop(h vfs.File, e index.Entry, known bool, upTo int64, visit func(int64, batch.View) error) (bad string, err error) {
	if e.Position >= upTo {
		if known {
			return indexWrong, nil
		}
		return "", nil
	}
	mismatch, stopped := false, false
	holes := s.Damages()
	for pos := e.Position; pos < upTo && !stopped; {
		limit := upTo
		for _, d := range holes {
			if d.Pos <= pos && pos < d.End {
				pos = d.End
			} else if d.Pos > pos {
				limit = min(limit, d.Pos)
				break
			}
		}
		if pos >= upTo {
			break
		}
		_, reason, err := Walk(h, pos, limit, s.base, false, func(p int64, v batch.View) error {
			if known && p == e.Position && v.LastOffset() != e.Offset {
				mismatch = true
				return errStop
			}
			err := visit(p, v)
			stopped = errors.Is(err, errStop)
			return err
		})
		switch {
		case err != nil:
			return "", err
		case mismatch:
			return indexWrong, nil
		case reason != "":
			return reason, nil
		}
		pos = limit
	}
	return "", nil
}

// entryFor asks the index, in memory or in its file.
func (s *Segment) entryFor(mem func(*index.Offset) (index.Entry, bool), file func(h vfs.File, size int64) (index.Entry, bool, error)) (e index.Entry, ok bool, bad string, err error) {
	if x := s.offsets.Load(); x != nil {
		e, ok = mem(x)
		return e, ok, "", nil
	}
	h, err := s.cfg.Files.Acquire(s.Path(IndexSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		if x := s.offsets.Load(); x != nil { // rebuilt meanwhile
			e, ok = mem(x)
			return e, ok, "", nil
		}
		return e, false, "the offset index is missing", nil
	}
	if err != nil {
		return e, false, "", err
	}
	defer h.Release()
	size, err := h.Size()
	if err != nil {
		return e, false, "", err
	}
	if size%index.OffsetEntrySize != 0 {
		return e, false, "the offset index is cut", nil
	}
	e, ok, err = file(h, size)
	if err == nil && ok && (e.Offset < s.base || e.Position < 0) {
		return e, ok, indexWrong, nil
	}
	return e, ok, "", err
}

// Visit calls f for the batches from the one that holds offset on, up to
// offset upTo, headers only (control batches whole). Holes are stepped over.
func (s *Segment) Visit(offset, upTo int64, f func(pos int64, v batch.View) error) error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	pos, _, err := s.Locate(offset)
	if err != nil {
		return err
	}
	size, _ := s.Tail()
	var inner error
	at := pos
	return s.repairing(offset, func() (int64, string, error) {
		bad, err := s.hop(h, index.Entry{Position: at}, false, size, func(p int64, v batch.View) error {
			at = p
			if v.BaseOffset() >= upTo {
				return errStop
			}
			if inner = f(p, v); inner == nil {
				at = p + int64(v.Size())
			}
			return inner
		})
		if inner != nil {
			return at, "", inner
		}
		return at, bad, err
	})
}

// ErrStop ends a Visit early without an error of its own.
var ErrStop = errStop

// FirstAtTime returns an offset at or below that of the first record at or
// after ts, near it: where a search may begin.
func (s *Segment) FirstAtTime(ts int64) (int64, error) {
	for try := 0; ; try++ {
		t := s.times.Load()
		if t == nil {
			var reason string
			if t, reason = readIndex(s, TimeSuffix, index.ParseTime); reason != "" {
				if try > 0 {
					return s.base, nil
				}
				if err := s.Rebuild(reason); err != nil {
					return 0, err
				}
				continue
			}
		}
		e, ok := t.Lookup(ts - 1) // an entry at ts itself may name a later batch
		if !ok {
			return s.base, nil
		}
		// The entry must name a batch with that timestamp.
		named, err := s.hasTime(e)
		if err != nil {
			return 0, err
		}
		if named {
			return e.Offset, nil
		}
		if try > 0 {
			return s.base, nil
		}
		if err := s.Rebuild("a time index entry names no batch"); err != nil {
			return 0, err
		}
	}
}

// VerifyMaxTime compares the largest timestamp with the batch that has it; when
// it is not that, the segment is read whole to learn which it is.
func (s *Segment) VerifyMaxTime() error {
	e := s.MaxTime()
	if e.Timestamp < 0 {
		return nil
	}
	named, err := s.hasTime(e)
	if err != nil || named {
		return err
	}
	return s.Rebuild("the largest timestamp is not that of its batch")
}

// hasTime says whether e names a batch with that timestamp.
func (s *Segment) hasTime(e index.TimeEntry) (named bool, err error) {
	err = s.Visit(e.Offset, e.Offset+1, func(_ int64, v batch.View) error {
		named = v.LastOffset() == e.Offset && v.MaxTimestamp() == e.Timestamp
		return errStop
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return named, err
}
