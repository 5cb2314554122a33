// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"gregor/internal/batch"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// OpenSegment gives the bytes of the segment at base, [0, n) of f, checked;
// release must be called.
func (l *Log) OpenSegment(base int64) (f vfs.File, n int64, release func(), err error) {
	if err := l.wake(); err != nil {
		return nil, 0, nil, err
	}
	segs := *l.segs.Load()
	s := segs[segmentFor(segs, base)]
	if s.Base() != base || !s.Acquire() {
		return nil, 0, nil, fmt.Errorf("%w: segment %d of %s", ErrNotFound, base, l.name)
	}
	h, err := s.File()
	if err == nil {
		if err = s.CheckAll(h); err != nil {
			h.Release()
		}
	}
	if err != nil {
		s.Release()
		return nil, 0, nil, l.readError(err)
	}
	n, _ = s.Tail()
	return h.File, n, func() { h.Release(); s.Release() }, nil
}

// LastRecords calls f, beneath the log's lock, for each producer that the log
// remembers, with its epoch and the last offset of its last data batch (-1
// when a marker came since): compaction keeps what they name.
func (l *Log) LastRecords(f func(pid int64, epoch int16, last int64)) error {
	if err := l.wake(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers.LastOffsets(f)
	return nil
}

// Cuts counts the truncations since the log was opened; lowest is the lowest
// offset that one of them cut to.
func (l *Log) Cuts() (n uint64, lowest int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cuts, l.cutTo
}

// Cleaned is a segment that compaction writes, to replace others. It is used
// by one goroutine.
type Cleaned struct {
	l       *Log
	seg     *segment.Segment
	h       *segment.Handle
	buf     []byte
	pending []batch.View
	size    int64
	next    int64
	done    bool   // replaced or discarded
	cuts    uint64 // the log's, when what it replaces was read
}

const cleanedBuffer = 1 << 20

// NewCleaned begins a segment at base; it is .cleaned on disk until Replace.
func (l *Log) NewCleaned(base int64) (*Cleaned, error) {
	if err := l.wake(); err != nil {
		return nil, err
	}
	path := l.dirPath()
	_ = l.dir.fs.Remove(filepath.Join(path, segment.FileName(base, segment.LogSuffix)+segment.CleanedSuffix))
	s, err := segment.Create(l.dir.segmentConfig(l, l.cfg.Load()), path, base, segment.CleanedSuffix)
	if err != nil {
		return nil, l.ioError(err)
	}
	h, err := s.File()
	if err != nil {
		return nil, l.ioError(err)
	}
	n, _ := l.Cuts()
	return &Cleaned{l: l, seg: s, h: h, next: base, cuts: n}, nil
}

// Append adds a batch with its offsets as they are, above all earlier ones.
// The bytes are copied.
func (c *Cleaned) Append(v batch.View) error {
	if _, err := checkFrames([]batch.View{v}); err != nil {
		return err
	}
	if v.BaseOffset() < c.next {
		return fmt.Errorf("%w: base offset %d below %d", ErrInvalidBatch, v.BaseOffset(), c.next)
	}
	if len(c.buf) > 0 && len(c.buf)+len(v) > cleanedBuffer {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.buf = append(c.buf, v...)
	c.pending = append(c.pending, batch.View(nil))
	c.next = v.NextOffset()
	c.size += int64(len(v))
	return nil
}

func (c *Cleaned) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	vs := c.pending[:0]
	for b := c.buf; len(b) > 0; {
		n := batch.View(b).Size()
		vs = append(vs, batch.View(b[:n]))
		b = b[n:]
	}
	err := c.seg.Append(c.h, c.buf, vs, segment.Ahead{})
	c.buf, c.pending = c.buf[:0], c.pending[:0]
	if err != nil {
		return c.l.ioError(err)
	}
	return nil
}

// AppendAborted adds an entry to the transaction index.
func (c *Cleaned) AppendAborted(t AbortedTxn) error {
	c.seg.AddAborted(t)
	return nil
}

// Size is the number of bytes appended.
func (c *Cleaned) Size() int64 { return c.size }

// Since makes Replace refuse (ErrNotFound) if the log was truncated since Cuts
// returned n. Without it, since NewCleaned.
func (c *Cleaned) Since(n uint64) { c.cuts = n }

// Discard removes the files of a segment that will not be used.
func (c *Cleaned) Discard() error {
	if !c.done {
		c.done = true
		c.h.Release()
		c.seg.Remove()
	}
	return nil
}

// Replace puts with (nil: nothing) in the place of the sealed segments whose
// bases are old, which must be neighbours; with's base is the first of them.
// A crash leaves the old ones or the new one: the new one's files are synced
// as .cleaned, become .swap, then the old ones go, then .swap loses its
// suffix. A start that finds .swap finishes the work.
func (l *Log) Replace(old []int64, with *Cleaned) error {
	if with != nil {
		if err := with.finish(); err != nil {
			_ = with.Discard()
			return l.ioError(err)
		}
	}
	l.reshaping <- struct{}{}
	defer func() { <-l.reshaping }()
	if err := l.usable(); err != nil {
		if with != nil {
			_ = with.Discard()
		}
		return err
	}
	l.dir.sealAll() // what was rolled just now, too
	gone, next, err := l.sealedAt(old, with)
	if err != nil {
		if with != nil {
			_ = with.Discard()
		}
		return err
	}
	if err := l.swap(gone, next, with); err != nil {
		err = l.ioError(err)
		l.unswap(gone, with)
		return err
	}
	l.mu.Lock()
	segs := *l.segs.Load()
	first := slices.Index(segs, gone[0])
	list := append([]*segment.Segment(nil), segs[:first]...)
	if with != nil {
		list = append(list, with.seg)
	}
	l.publishLocked(append(list, segs[first+len(gone):]...))
	l.dirtyDir = true
	l.mu.Unlock()
	l.removeSegments(gone)
	if with != nil {
		with.done = true
		with.h.Release()
	}
	l.dir.markDirty(l)
	return nil
}

// sealedAt finds the segments to replace and the base of what follows them.
func (l *Log) sealedAt(old []int64, with *Cleaned) (gone []*segment.Segment, next int64, err error) {
	segs := *l.segs.Load()
	if len(old) == 0 {
		return nil, 0, fmt.Errorf("%w: nothing to replace", ErrNotFound)
	}
	first := segmentFor(segs, old[0])
	if first+len(old) >= len(segs) {
		return nil, 0, fmt.Errorf("%w: %s has no sealed segments at %v", ErrNotFound, l.name, old)
	}
	for i, base := range old {
		if segs[first+i].Base() != base {
			return nil, 0, fmt.Errorf("%w: %s has no segment at %d", ErrNotFound, l.name, base)
		}
	}
	next = segs[first+len(old)].Base()
	l.mu.Lock()
	sealed, cuts := l.sealedUpTo, l.cuts
	l.mu.Unlock()
	if with != nil && with.cuts != cuts {
		return nil, 0, fmt.Errorf("%w: %s was truncated meanwhile", ErrNotFound, l.name)
	}
	if next > sealed {
		return nil, 0, fmt.Errorf("%w: the segments of %s below %d are not sealed yet", ErrNotFound, l.name, next)
	}
	if with != nil && with.seg.Base() != old[0] {
		return nil, 0, fmt.Errorf("%w: the cleaned segment begins at %d, the first old one at %d", ErrInvalidBatch, with.seg.Base(), old[0])
	}
	return segs[first : first+len(old) : first+len(old)], next, nil
}

// swap does the renames; each stage is durable before the next.
func (l *Log) swap(gone []*segment.Segment, next int64, with *Cleaned) error {
	path := l.dirPath()
	// Gaps in offsets are believed below the durable point only.
	l.mu.Lock()
	pt := l.pointLocked(l.flushed.Load())
	l.mu.Unlock()
	if err := l.dir.points.set(l.key(), pt, true); err != nil {
		return err
	}
	if with != nil {
		with.seg.SetNext(next)
		if err := with.seg.Rename(segment.SwapSuffix); err != nil {
			return err
		}
		if err := l.dir.fs.SyncDir(path); err != nil {
			return err
		}
	}
	if err := l.renameAway(gone, false); err != nil {
		return err
	}
	for i, s := range gone {
		if i == 0 && with != nil {
			continue // the snapshot at the first base stays with the new segment
		}
		err := l.dir.fs.Remove(filepath.Join(path, segment.FileName(s.Base(), segment.SnapshotSuffix)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := l.dir.fs.SyncDir(path); err != nil || with == nil {
		return err
	}
	return with.seg.Rename("")
}

// unswap undoes a swap that failed half way, for want of room: the log goes on
// with the old segments, and a later start must not find .swap and finish what
// has long been out of date.
func (l *Log) unswap(gone []*segment.Segment, with *Cleaned) {
	d := l.dir
	if d.Err() != nil {
		return
	}
	if with != nil {
		_ = with.Discard()
		for _, kind := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
			// Some may have got their last name, and some not the one before.
			err := d.fs.Remove(filepath.Join(l.dirPath(), segment.FileName(gone[0].Base(), kind)+segment.SwapSuffix))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				d.fail(err)
				return
			}
		}
	}
	d.renameBack(gone)
	l.mu.Lock()
	l.dirtyDir = true
	l.mu.Unlock()
	d.markDirty(l)
}

// finish writes and syncs the files of a cleaned segment.
func (c *Cleaned) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	c.seg.Retire()
	return c.seg.Seal()
}
