// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"io/fs"
	"math"
	"time"

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

// holeAt returns the hole that offset falls into (inside), or else the first
// one at or after pos.
func (s *Segment) holeAt(offset, pos int64) (d *Damage, inside bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.damage {
		if d.First <= offset && offset < d.Next && d.End <= pos {
			return d, true
		}
		if d.Pos >= pos {
			return d, d.First <= offset && offset < d.Next
		}
	}
	return nil, false
}

// Damages lists the holes found so far.
func (s *Segment) Damages() []*Damage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damage[:len(s.damage):len(s.damage)]
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
	for pos < size {
		end, reason, err := Walk(h, pos, size, r.Next, true, func(p int64, v batch.View) error {
			gap := v.BaseOffset() > r.Next
			if v.LastOffset()-s.base > math.MaxInt32 || v.NextOffset() > maxNext ||
				gap && s.cfg.Dense && p+int64(v.Size()) >= content {
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

func sameHole(known []*Damage, d *Damage) bool {
	for _, k := range known {
		if k.Pos == d.Pos && k.End == d.End {
			return true
		}
	}
	return false
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

// Sync makes the log file durable.
func (s *Segment) Sync() error {
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := h.Datasync(); err != nil {
		return &SyncError{Path: s.Path(LogSuffix), Err: err}
	}
	return nil
}

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

// Modified is when the log file was last written, or when the segment was
// opened if that cannot be told.
func (s *Segment) Modified() time.Time {
	fi, err := s.cfg.Files.fs.Stat(s.Path(LogSuffix))
	if err != nil {
		return s.created
	}
	return fi.ModTime()
}

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
		named := false
		err := s.Visit(e.Offset, e.Offset+1, func(_ int64, v batch.View) error {
			named = v.LastOffset() == e.Offset && v.MaxTimestamp() == e.Timestamp
			return errStop
		})
		if err != nil && !errors.Is(err, errStop) {
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

// SetNext says where the next segment begins; compaction may leave the offsets
// up to there out.
func (s *Segment) SetNext(next int64) {
	s.mu.Lock()
	s.next = max(s.next, next)
	s.mu.Unlock()
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

// Scrub reads and checks batches from position pos (a boundary; 0 to begin)
// until budget bytes were read, and returns where it stopped. Damage is noted by
// reading the segment whole. What nobody read before leaves the page cache
// again.
func (s *Segment) Scrub(pos, budget int64) (int64, error) {
	h, err := s.File()
	if err != nil {
		return pos, err
	}
	defer h.Release()
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
