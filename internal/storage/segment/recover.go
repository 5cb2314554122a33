// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"math"

	"gregor/internal/batch"
	"gregor/internal/storage/index"
	"gregor/internal/vfs"
)

// Recovered is what Recover found.
type Recovered struct {
	// Size is the file's size without the zeroes kept ahead; Good is where the
	// batches end, and Next the offset there. Bytes from Good on were no
	// batches and lie above the durable point: they must be cut.
	Size, Good, Next int64
	// Followed: whole batches lie behind Good all the same.
	Followed bool
	Reason   string
	Damage   []*Damage
}

// Recover reads and checks the whole file, making indexes and largest
// timestamp anew, and visits each batch in order. Bad bytes where offsets
// below durable should be are noted as damage and stepped over; the first bad
// byte above ends the walk. until is where the next segment begins, MaxInt64
// when there is none. Doubt is not asked: what the log knows comes from visits.
// Rebuild asks it.
func (s *Segment) Recover(durable, until int64, visit func(pos int64, v batch.View) error) (Recovered, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	h, err := s.File()
	if err != nil {
		return Recovered{}, err
	}
	defer h.Release()
	size, err := h.Size()
	if err != nil {
		return Recovered{}, err
	}
	kept := min(durable, until)
	if until < math.MaxInt64 && !s.cfg.Dense {
		kept = 0 // what is missing before the next segment may never have been
	}
	return s.recoverLocked(h, size, math.MaxInt64, durable, kept, visit)
}

// recoverLocked walks the first size bytes. Zeroes behind offset kept are
// those kept ahead of the end.
func (s *Segment) recoverLocked(h vfs.File, size, maxNext, durable, kept int64, visit func(int64, batch.View) error) (Recovered, error) {
	x, t := index.NewOffset(s.base), index.NewTime(s.base)
	latest := index.TimeEntry{Timestamp: -1, Offset: s.base}
	r := Recovered{Size: size, Good: size, Next: s.base}
	var checked []span
	first, since := int64(-2), int64(0)
	path := s.Path(LogSuffix)
	pos := int64(0)
	content, err := lastContent(h, size)
	if err != nil {
		return r, err
	}
	// Nothing that follows vouches for the base offset of the last batch. Behind
	// a gap it is believed if it ends where what is known does, or before.
	vouched := min(maxNext, kept)
	if vouched == math.MaxInt64 {
		vouched = -1
	}
	for pos < size {
		end, reason, err := Walk(h, pos, size, r.Next, true, func(p int64, v batch.View) error {
			gap := v.BaseOffset() > r.Next
			if v.LastOffset()-s.base > math.MaxInt32 || v.NextOffset() > maxNext ||
				gap && s.cfg.Dense && p+int64(v.Size()) >= content && v.NextOffset() > vouched {
				return errOffsetTooFar
			}
			if visit == nil {
				if err := s.doubt(v); err != nil {
					return err
				}
			}
			if ts := v.MaxTimestamp(); ts > latest.Timestamp {
				latest = index.TimeEntry{Timestamp: ts, Offset: v.LastOffset()}
			}
			if first < -1 {
				first = v.MaxTimestamp()
			}
			if since > int64(s.cfg.IndexInterval) {
				x.Append(v.LastOffset(), p)
				t.Append(latest.Timestamp, latest.Offset)
				since = 0
			}
			since += int64(v.Size())
			r.Next = v.NextOffset()
			if visit == nil {
				return nil
			}
			return visit(p, v)
		})
		if reason, err = asReason(reason, err); err != nil {
			return r, err
		}
		if end > pos {
			checked = append(checked, span{pos, end})
		}
		if reason == "" {
			break
		}
		if end >= content && r.Next >= kept {
			r.Size, r.Good = end, end
			break
		}
		q, base, found, err := Resync(h, end+1, size, r.Next, s.base+math.MaxInt32)
		if err != nil {
			return r, err
		}
		if r.Next >= durable {
			r.Good, r.Followed, r.Reason = end, found, reason
			break
		}
		d := &Damage{Path: path, Pos: end, End: size, First: r.Next, Next: -1, Reason: reason}
		if found {
			d.End, d.Next = q, base
		}
		r.Damage = append(r.Damage, d)
		if !found {
			break
		}
		r.Next = base
		pos = q
	}
	s.offsets.Store(x)
	s.times.Store(t)
	s.firstTime, s.sinceLast = first, 0
	if r.Size < size {
		s.zeroed = size
	}
	s.mu.Lock()
	s.size, s.next, s.maxTime = r.Good, r.Next, latest
	s.marks, s.markAt = nil, 0
	s.checked, s.damage = checked, r.Damage
	s.mu.Unlock()
	return r, nil
}

var errOffsetTooFar = errors.New("its offset is beyond where it can be")

// Measure finds the end of a segment that was closed cleanly, from its indexes
// and the headers after the last entry, and makes it ready for appends.
func (s *Segment) Measure() error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	size, err := h.Size()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.size = size
	s.mu.Unlock()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if err := s.loadIndexes(); err != nil {
		return err
	}
	e, ok := s.offsets.Load().Lookup(math.MaxInt64)
	latest, _ := s.times.Load().Last()
	next := s.base
	bad, err := s.hop(h, e, ok, size, func(_ int64, v batch.View) error {
		next = v.NextOffset()
		if v.MaxTimestamp() > latest.Timestamp {
			latest = index.TimeEntry{Timestamp: v.MaxTimestamp(), Offset: v.LastOffset()}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if bad != "" {
		r, err := s.recoverLocked(h, size, math.MaxInt64, math.MaxInt64, math.MaxInt64, nil)
		if err != nil {
			return err
		}
		for _, d := range r.Damage {
			if s.cfg.Hooks.Damaged != nil {
				s.cfg.Hooks.Damaged(d)
			}
		}
		s.mu.Lock()
		s.size = size
		s.mu.Unlock()
		return nil
	}
	s.mu.Lock()
	s.next, s.maxTime = next, latest
	s.mu.Unlock()
	return nil
}

// OpenSealed looks up the size and the largest timestamp of a sealed segment
// that ends below next. Data is not read; missing or damaged indexes are
// rebuilt.
func (s *Segment) OpenSealed(next int64) error {
	fi, err := s.cfg.Files.fs.Stat(s.Path(LogSuffix))
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.size, s.next = fi.Size(), next
	s.mu.Unlock()
	if fi.Size() == 0 {
		return nil
	}
	t, reason := readIndex(s, TimeSuffix, index.ParseTime)
	if reason == "" {
		if _, err := s.cfg.Files.fs.Stat(s.Path(IndexSuffix)); err != nil {
			reason = err.Error()
		}
	}
	if reason != "" {
		return s.Rebuild(reason)
	}
	if e, ok := t.Last(); ok {
		s.mu.Lock()
		s.maxTime = e
		s.mu.Unlock()
	}
	return nil
}

// Extend says that the offsets up to next belong to this segment, though
// nothing valid is there.
func (s *Segment) Extend(next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next <= s.next {
		return
	}
	if n := len(s.damage); n > 0 && s.damage[n-1].End >= s.size {
		s.damage[n-1].Next = next
	} else {
		s.damage = append(s.damage, &Damage{Path: s.pathLocked(LogSuffix), Pos: s.size, End: s.size,
			First: s.next, Next: next, Reason: "the end of the segment is missing"})
	}
	s.next = next
}

// missing stands in the file where its end is gone: no batch, so that those who
// read there later are told too.
const missing = "\nThe end of this segment is missing.\n"

// NoteMissing is Extend for a segment of which nothing is left at its end, and
// lets the file say so.
func (s *Segment) NoteMissing(next int64) error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	s.wmu.Lock()
	defer s.wmu.Unlock()
	size, _ := s.Tail()
	if err := s.trimLocked(h); err != nil {
		return err
	}
	if _, err := h.WriteAt([]byte(missing), size); err != nil {
		return err
	}
	s.Extend(next)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += int64(len(missing))
	s.damage[len(s.damage)-1].End = s.size
	return nil
}

// SetNext says where the next segment begins; compaction may leave the offsets
// up to there out.
func (s *Segment) SetNext(next int64) {
	s.mu.Lock()
	s.next = max(s.next, next)
	s.mu.Unlock()
}
