// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"io/fs"
	"sort"

	"gregor/internal/storage/index"
	"gregor/internal/storage/segment"
)

// segmentFor finds the segment that holds offset, or the last one below it.
func segmentFor(segs []*segment.Segment, offset int64) int {
	i := sort.Search(len(segs), func(i int) bool { return segs[i].Base() > offset })
	return max(i-1, 0)
}

// Read returns whole batches from the one that holds offset from (or the next
// one, when from was compacted away) up to but not including offset upTo, at
// most maxBytes of them; with minOne at least one batch however large. At the
// end (from == upTo or above) the Slice is empty and the error nil.
// Errors: ErrOffsetOutOfRange, *CorruptError, ErrDirFailed, ErrClosed.
func (l *Log) Read(from, upTo int64, maxBytes int, minOne bool) (Slice, error) {
	if err := l.usable(); err != nil {
		return Slice{}, err
	}
	start, end := l.start.Load(), l.end.Load()
	if from < start || from > end {
		return Slice{}, ErrOffsetOutOfRange{from, start, end}
	}
	upTo = min(upTo, end)
	if from >= upTo || maxBytes <= 0 && !minOne {
		return Slice{First: from, Next: from}, nil
	}
	if err := l.wake(); err != nil {
		return Slice{}, err
	}
	for {
		segs := *l.segs.Load()
		gone := false
		for i := segmentFor(segs, from); i < len(segs); i++ {
			s := segs[i]
			if s.Base() >= upTo {
				break
			}
			if !s.Acquire() {
				gone = true
				break
			}
			sl, err := l.readSegment(s, from, upTo, maxBytes, minOne, i == len(segs)-1)
			if err != nil || sl.N == 0 {
				s.Release()
			}
			if errors.Is(err, fs.ErrNotExist) && !l.lists(s) {
				gone = true
				break
			}
			if err != nil {
				return Slice{}, l.readError(err)
			}
			if sl.N > 0 {
				return sl, nil
			}
		}
		if !gone {
			return Slice{First: from, Next: from}, nil
		}
		if start = l.start.Load(); from < start {
			return Slice{}, ErrOffsetOutOfRange{from, start, l.end.Load()}
		}
		if err := l.usable(); err != nil {
			return Slice{}, err
		}
	}
}

func (l *Log) lists(s *segment.Segment) bool {
	for _, x := range *l.segs.Load() {
		if x == s {
			return true
		}
	}
	return false
}

func (l *Log) readSegment(s *segment.Segment, from, upTo int64, maxBytes int, minOne, last bool) (Slice, error) {
	h, err := s.File()
	if err != nil {
		return Slice{}, err
	}
	most := l.dir.pace(s, h, from, int64(maxBytes), last)
	r, err := s.Find(h, from, upTo, most, minOne)
	if err != nil || r.N == 0 {
		h.Release()
		return Slice{}, err
	}
	return Slice{File: h.File, Off: r.Pos, N: int(r.N), Path: s.Path(segment.LogSuffix), First: r.First, Next: r.Next,
		Release: func() { h.Release(); s.Release() }}, nil
}

func (l *Log) readError(err error) error {
	var d *segment.Damage
	if errors.As(err, &d) {
		return &CorruptError{Path: d.Path, Pos: d.Pos, Offset: d.First, Next: d.Next, Reason: d.Reason}
	}
	return l.ioError(err)
}

// Aborted lists the aborted transactions that a reader of [from, upTo) must
// leave out. The search goes on into later segments until an entry's last
// stable offset is at or above upTo.
func (l *Log) Aborted(from, upTo int64) ([]AbortedTxn, error) {
	if err := l.wake(); err != nil {
		return nil, err
	}
	segs := *l.segs.Load()
	var found []AbortedTxn
	for _, s := range segs[segmentFor(segs, from):] {
		ts, err := l.abortedOf(s)
		if err != nil {
			return nil, l.readError(err)
		}
		var done bool
		if found, done = index.Aborted(found, ts, from, upTo); done {
			break
		}
	}
	return found, nil
}

func (l *Log) abortedOf(s *segment.Segment) ([]AbortedTxn, error) {
	ts, err := s.Aborted()
	var bad *segment.BadIndexError
	if !errors.As(err, &bad) {
		return ts, err
	}
	if ts, err = l.rebuildAborted(s, *l.segs.Load()); err != nil {
		return nil, err
	}
	s.SetAborted(ts)
	l.dir.cfg.Events.rebuilt(bad.Path, bad.Err.Error())
	_ = s.WriteIndexes(false) // in memory it is right; the next stop writes it again
	return ts, nil
}
