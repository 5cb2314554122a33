// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"gregor/internal/storage/segment"
)

// TruncateTo removes everything at and above off. The durable point and the
// flushed end are lowered, durably, before a byte goes: a crash in between
// must not look like loss.
func (l *Log) TruncateTo(off int64) error {
	if err := l.wake(); err != nil {
		return err
	}
	if off >= l.end.Load() {
		// An epoch that begins there has no record, and may be one that the
		// leader never had.
		l.mu.Lock()
		if l.epochs.TruncateEnd(off) {
			l.epochsDirty = true
		}
		l.mu.Unlock()
		return nil
	}
	if off <= l.start.Load() {
		return l.TruncateFully(off)
	}
	l.reshaping <- struct{}{}
	off, err := l.cutAt(off)
	if start := l.start.Load(); err == nil && off < start {
		<-l.reshaping
		return l.TruncateFully(start)
	}
	defer func() { <-l.reshaping }()
	if err == nil {
		err = l.lower(off, l.start.Load())
	}
	var s *segment.Segment
	if err == nil {
		s, err = l.truncate(off)
	}
	if err == nil {
		// Durable before anything is appended: were it lost in a power cut and
		// later appends not, old batches could stand behind new ones.
		if err = s.Sync(); err == nil {
			err = l.dir.fs.SyncDir(l.dirPath())
		}
	}
	l.cutEnded(err)
	if err == nil {
		l.dir.cfg.Events.truncated(l, l.end.Load())
	}
	return l.ioError(err)
}

// cutEnded lets commits go on. Where nothing was cut, the next one finds the
// log durable to its end again, which was lowered.
func (l *Log) cutEnded(err error) {
	l.mu.Lock()
	l.truncating = false
	l.dirtyDir = l.dirtyDir || err != nil
	l.mu.Unlock()
	l.dir.markDirty(l)
}

// cutAt is where the log ends when it is cut at off: where the batch begins that
// holds off, if one does. The marks are lowered to there; what lies between is
// written anew.
func (l *Log) cutAt(off int64) (int64, error) {
	segs := *l.segs.Load()
	for {
		i := max(segmentFor(segs, off-1), 0) // the last that begins below off
		_, base, err := segs[i].Locate(off)
		if err != nil {
			return off, err
		}
		off = min(off, base)
		if i == 0 || off > segs[i].Base() {
			return off, nil
		}
	}
}

func (l *Log) truncate(off int64) (*segment.Segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return nil, err
	}
	segs := *l.segs.Load()
	keep := len(segs)
	for keep > 1 && segs[keep-1].Base() >= off {
		keep--
	}
	s := segs[keep-1]
	if keep < len(segs) {
		if err := l.activate(s, segs); err != nil {
			return nil, err
		}
	}
	_, end, err := s.Truncate(off)
	if err != nil {
		return nil, err
	}
	l.dropHandleLocked()
	l.active = s
	l.publishLocked(segs[:keep:keep])
	l.end.Store(end)
	l.sealedUpTo = min(l.sealedUpTo, s.Base())
	l.dirtyLocked(s)
	if keep < len(segs) {
		if err := l.renameAway(segs[keep:], true); err != nil {
			return nil, err
		}
		l.removeSegments(segs[keep:])
	}
	if l.hw.Load() > end {
		l.hw.Store(end)
	}
	if l.epochs.TruncateEnd(end) {
		l.epochsDirty = true
	}
	if err := l.reloadProducersLocked(end); err != nil {
		return nil, err
	}
	return s, nil
}

// lower takes back, durably, the promise that offsets from off on are durable,
// and the recovery point with it: segments above are no longer sealed.
func (l *Log) lower(off, start int64) error {
	l.mu.Lock()
	if l.cuts == 0 || off < l.cutTo {
		l.cutTo = off
	}
	l.cuts++
	l.truncating = true // no commit may raise the mark again meanwhile
	if l.flushed.Load() > off {
		l.flushed.Store(off)
	}
	segs := *l.segs.Load()
	l.sealedUpTo = min(l.sealedUpTo, segs[segmentFor(segs, off)].Base())
	pt := l.pointLocked(min(l.flushed.Load(), off))
	pt.start, pt.hw = start, min(pt.hw, off)
	l.mu.Unlock()
	if err := l.dir.points.set(l.key(), pt, true); err != nil {
		return err
	}
	return l.dir.lowerRecoveryPoint(l, off)
}

func (l *Log) publishLocked(segs []*segment.Segment) {
	l.segs.Store(&segs)
	var size int64
	for _, s := range segs {
		n, _ := s.Tail()
		size += n
	}
	l.size.Store(size)
}

// reloadProducersLocked makes the producer table as of end, after a
// truncation.
func (l *Log) reloadProducersLocked(end int64) error {
	entries, err := l.dir.fs.List(l.path)
	if err != nil {
		return err
	}
	var snapshots []int64
	for _, e := range entries {
		o, suffix, ok := parseFileName(e.Name())
		if !ok || suffix != segment.SnapshotSuffix {
			continue
		}
		if o > end {
			_ = l.dir.fs.Remove(filepath.Join(l.path, e.Name()))
			continue
		}
		snapshots = append(snapshots, o)
	}
	slices.Sort(snapshots)
	t, err := l.producersAt(*l.segs.Load(), snapshots, end)
	if err != nil {
		return err
	}
	t.Committed(l.hw.Load())
	l.producers = t
	l.noteUnstableLocked()
	return nil
}

// TruncateFully removes everything; the log goes on at start.
func (l *Log) TruncateFully(start int64) error {
	if err := l.wake(); err != nil {
		return err
	}
	l.reshaping <- struct{}{}
	defer func() { <-l.reshaping }()
	err := l.lower(start, start)
	if err == nil {
		err = l.restartAt(start)
	}
	if err == nil {
		err = l.dir.fs.SyncDir(l.dirPath())
	}
	l.cutEnded(err)
	if err == nil {
		l.dir.cfg.Events.truncated(l, l.end.Load())
	}
	return l.ioError(err)
}

func (l *Log) restartAt(start int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	segs := *l.segs.Load()
	l.dropHandleLocked()
	err := l.renameAway(segs, true)
	var s *segment.Segment
	if err == nil {
		s, err = segment.Create(l.dir.segmentConfig(l, l.cfg.Load()), l.path, start, "")
	}
	if err != nil {
		// The log goes on as it was, and not in files that the next start removes.
		l.dir.renameBack(segs)
		return err
	}
	l.active = s
	l.publishLocked([]*segment.Segment{s})
	l.removeSegments(segs)
	l.start.Store(start)
	l.end.Store(start)
	l.flushed.Store(start)
	l.hw.Store(start)
	l.sealedUpTo = start
	l.epochs.Clear()
	l.epochsDirty = true
	l.producers.Clear()
	l.noteUnstableLocked()
	l.dirtyDir = true
	return nil
}

// IncrementStart moves the log start up; what lies below is no longer read,
// and its segments go with the next retention.
func (l *Log) IncrementStart(off int64) error {
	if err := l.wake(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.incrementStartLocked(off)
}

func (l *Log) incrementStartLocked(off int64) error {
	if off <= l.start.Load() {
		return nil
	}
	if off > l.end.Load() {
		return ErrOffsetOutOfRange{off, l.start.Load(), l.end.Load()}
	}
	l.start.Store(off)
	if l.hw.Load() < off {
		l.hw.Store(off)
	}
	if l.epochs.TruncateStart(off) {
		l.epochsDirty = true
	}
	if err := l.dir.points.set(l.key(), l.pointLocked(l.flushed.Load()), false); err != nil {
		return l.ioError(err)
	}
	return nil
}

// renameAway gives segments the suffix .deleted; readers that hold them, and
// those that still find them listed, go on reading.
func (l *Log) renameAway(segs []*segment.Segment, snapshots bool) error {
	for _, s := range segs {
		if snapshots {
			path := filepath.Join(l.path, segment.FileName(s.Base(), segment.SnapshotSuffix))
			if err := l.dir.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove %s: %w", path, err)
			}
		}
		if err := s.Rename(segment.DeletedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// renameBack undoes renameAway, but for snapshots, which are made anew.
func (d *Dir) renameBack(segs []*segment.Segment) {
	for _, s := range segs {
		if err := s.Rename(""); err != nil {
			d.fail(err)
			return
		}
	}
}

// removeSegments removes what renameAway renamed, after file.delete.delay.ms.
func (l *Log) removeSegments(segs []*segment.Segment) {
	at := time.Now().Add(max(l.cfg.Load().FileDeleteDelay, 0))
	for _, s := range segs {
		l.dir.keeper.removeSegmentLater(s, at)
	}
}

// Retain deletes what retention lets go (the directory calls it regularly)
// and returns the number of segments deleted. Only what lies below the high
// watermark goes.
func (l *Log) Retain(now time.Time) (int, error) {
	if err := l.wake(); err != nil {
		return 0, err
	}
	l.reshaping <- struct{}{}
	defer func() { <-l.reshaping }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	cfg := l.cfg.Load()
	l.producers.Expire(now.UnixMilli(), cfg.ProducerExpiry.Milliseconds())
	segs := *l.segs.Load()
	n := l.expiredLocked(cfg, segs, now)
	if n == 0 {
		return 0, nil
	}
	if n == len(segs) { // the active segment too: the log goes on in a new one
		if err := l.rollLocked(l.end.Load()); err != nil {
			return 0, err
		}
		segs = *l.segs.Load()
	}
	// The start moves first: nobody is sent to a segment that is going.
	next := segs[n].Base()
	moved := next > l.start.Load()
	if err := l.incrementStartLocked(next); err != nil {
		return 0, err
	}
	gone := segs[:n:n]
	l.publishLocked(segs[n:len(segs):len(segs)])
	if moved {
		l.dir.cfg.Events.startMoved(l, next)
	}
	err := l.renameAway(gone, true) // what a failure leaves, the next start deletes
	l.removeSegments(gone)
	l.dirtyDir = true
	return n, l.ioError(err)
}

// expiredLocked counts the oldest segments that may go.
func (l *Log) expiredLocked(cfg *LogConfig, segs []*segment.Segment, now time.Time) int {
	hw, start := l.hw.Load(), l.start.Load()
	total := l.size.Load()
	n := 0
	for i, s := range segs {
		size, next := s.Tail()
		if i+1 < len(segs) {
			next = segs[i+1].Base()
		}
		if next > hw || size == 0 && i == len(segs)-1 {
			break
		}
		tooOld := cfg.Delete && cfg.Retention >= 0 && l.olderThan(s, cfg.Retention, now)
		tooMuch := cfg.Delete && cfg.RetentionBytes > 0 && total-size >= cfg.RetentionBytes
		if !tooOld && !tooMuch && (next > start || i == len(segs)-1) {
			break
		}
		total -= size
		n++
	}
	return n
}

func (l *Log) olderThan(s *segment.Segment, age time.Duration, now time.Time) bool {
	old := func() bool {
		ts := s.MaxTime().Timestamp
		if ts < 0 {
			ts = s.Modified().UnixMilli()
		}
		return now.UnixMilli()-ts > age.Milliseconds()
	}
	// An index without a checksum may have said so.
	return old() && s.VerifyMaxTime() == nil && old()
}

// Segments lists the segments, oldest first, the active one last.
func (l *Log) Segments() ([]SegmentInfo, error) {
	if err := l.wake(); err != nil {
		return nil, err
	}
	segs := *l.segs.Load()
	l.mu.Lock()
	sealed := l.sealedUpTo
	l.mu.Unlock()
	infos := make([]SegmentInfo, len(segs))
	for i, s := range segs {
		size, next := s.Tail()
		if i+1 < len(segs) {
			next = segs[i+1].Base()
		}
		latest := s.MaxTime()
		infos[i] = SegmentInfo{Base: s.Base(), Next: next, Bytes: size, MaxTimestamp: latest.Timestamp,
			OffsetOfMaxTime: latest.Offset, LastModified: s.Modified(), Active: i == len(segs)-1 || next > sealed,
			Path: s.Path(segment.LogSuffix), HasDamage: len(s.Damages()) > 0}
	}
	return infos, nil
}
