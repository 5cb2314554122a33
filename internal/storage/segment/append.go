// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"gregor/internal/batch"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

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
