// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"slices"

	"gregor/internal/batch"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

type span struct{ from, upTo int64 }

type mark struct{ offset, pos int64 }

const (
	marksMax = 128
	spansMax = 256
)

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

// check reads what was not checked yet of [from, upTo).
func (s *Segment) check(h vfs.File, from, upTo int64) (at int64, bad string, err error) {
	for {
		u, more := s.unchecked(from, upTo)
		if !more {
			return upTo, "", nil
		}
		size, next := s.Tail()
		last := s.base
		end, reason, err := Walk(h, u.from, u.upTo, s.base, true, func(_ int64, v batch.View) error {
			if last = v.NextOffset(); last > next {
				return errOffsetTooFar
			}
			return s.doubt(v)
		})
		if reason, err = asReason(reason, err); err != nil || reason != "" {
			return end, reason, err
		}
		// The base offset is not covered by the checksum: the next batch must
		// agree with it.
		if hole, _ := s.holeAt(-1, u.upTo); u.upTo < size && (hole == nil || hole.Pos > u.upTo) {
			end, reason, err := Walk(h, u.upTo, size, last, false, func(int64, batch.View) error { return errStop })
			if err != nil || reason != "" {
				return end, reason, err
			}
		}
		s.mu.Lock()
		s.checkedLocked(u)
		s.mu.Unlock()
	}
}

// CheckAll checks what was not checked yet. The error is the first *Damage.
func (s *Segment) CheckAll(h vfs.File) error {
	if ds := s.Damages(); len(ds) > 0 {
		return ds[0]
	}
	size, _ := s.Tail()
	_, bad, err := s.check(h, 0, size)
	if err != nil || bad == "" {
		return err
	}
	if err := s.Rebuild(bad); err != nil {
		return err
	}
	if ds := s.Damages(); len(ds) > 0 {
		return ds[0]
	}
	return nil
}

// Scrub reads and checks batches from the first at or behind position pos on,
// until budget bytes were read, and returns where it stopped. Damage is noted by
// reading the segment whole. What nobody read before leaves the page cache
// again.
func (s *Segment) Scrub(pos, budget int64) (int64, error) {
	h, err := s.File()
	if err != nil {
		return pos, err
	}
	defer h.Release()
	if pos > 0 { // which was a boundary of what may have been compacted since
		if pos, err = s.boundary(h, pos); err != nil {
			return pos, err
		}
	}
	size, _ := s.Tail()
	for _, d := range s.Damages() {
		if d.Pos <= pos && pos < d.End {
			pos = d.End
		} else if d.Pos > pos {
			size = min(size, d.Pos)
			break
		}
	}
	if pos >= size {
		return pos, nil
	}
	end := pos
	_, reason, err := Walk(h, pos, size, s.base, true, func(p int64, v batch.View) error {
		if err := s.doubt(v); err != nil {
			return err
		}
		end = p + int64(v.Size())
		if end-pos >= budget {
			return errStop
		}
		return nil
	})
	if reason, err = asReason(reason, err); err != nil {
		return pos, err
	}
	if reason != "" {
		if err := s.Rebuild(reason); err != nil {
			return pos, err
		}
		return end + 1, nil // within the hole; the next round steps over it
	}
	if cold, found := s.unchecked(pos, end); found && cold.from == pos && cold.upTo == end {
		h.DropCache(pos, end-pos)
	}
	return end, nil
}

// boundary is where the first batch at or behind pos begins.
func (s *Segment) boundary(h vfs.File, pos int64) (at int64, err error) {
	err = s.repairing(s.base, func() (int64, string, error) {
		e, ok, bad, err := s.entryFor(func(x *index.Offset) (index.Entry, bool) { return x.Before(pos) },
			func(h vfs.File, size int64) (index.Entry, bool, error) {
				return index.BeforeFile(h, size, s.base, pos)
			})
		if err != nil || bad != "" {
			return pos, bad, err
		}
		at, _ = s.Tail()
		if !ok {
			e.Position = 0
		}
		bad, err = s.hop(h, e, ok, at, func(p int64, _ batch.View) error {
			if p < pos {
				return nil
			}
			at = p
			return errStop
		})
		return pos, bad, err
	})
	return at, err
}
