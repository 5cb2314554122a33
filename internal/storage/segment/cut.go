// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"slices"

	"gregor/internal/batch"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

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
	if pos >= old && next <= offset {
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

// Cut truncates the file to size, durably: were the truncation lost in a power
// cut and later appends not, old batches could stand behind new ones.
func (s *Segment) Cut(size int64) error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	s.wmu.Lock()
	if err = h.Truncate(size); err == nil {
		s.zeroed = 0
	}
	s.wmu.Unlock()
	if err != nil {
		return err
	}
	return s.Sync()
}
