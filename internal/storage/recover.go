// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"math"
	"path/filepath"

	"gregor/internal/batch"
	"gregor/internal/storage/producer"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// recover opens a log after an unclean stop.
func (l *Log) recover() error {
	f, err := l.list()
	if err != nil {
		return err
	}
	l.isNew.Store(true) // found, but perhaps in memory only
	pt, known := l.dir.points.lookup(l.key())
	start, recoveryPoint := l.dir.starts[l.name], l.dir.recoveryOnDisk(l.name)
	hw := l.dir.hws[l.name]
	if known {
		if start > pt.start {
			l.dir.cfg.Events.rebuilt(filepath.Join(l.dir.path, startOffsetName),
				fmt.Sprintf("log %s starts at %d, not %d", l.name, pt.start, start))
		}
		// The checkpoint may have a watermark from before a cut, which the point
		// has not; what the point lacks is heard of from the others.
		start, hw = pt.start, pt.hw
		recoveryPoint = min(recoveryPoint, pt.durable)
	}
	durable := max(pt.durable, recoveryPoint)
	if len(f.bases) == 0 {
		if err := l.startEmpty(max(start, durable)); err != nil {
			return err
		}
		r := Recovery{From: start, End: l.end.Load(), LostTail: !l.dir.sameBoot || durable > start}
		if durable > start {
			c := &CorruptError{Path: l.path, Offset: start, Next: durable, Reason: "all segments are missing"}
			r.Damage = append(r.Damage, c)
			l.tell(c)
		}
		l.noteRecovery(r)
		return nil
	}
	first := 0
	for first+1 < len(f.bases) && f.bases[first+1] <= recoveryPoint {
		first++
	}
	segs, err := l.openSealed(f.bases[:first], f.bases)
	if err != nil {
		return err
	}
	rec := recovering{l: l, durable: durable, segs: segs, r: Recovery{From: f.bases[first]}}
	if err := rec.producersBefore(f.snapshots, f.bases[first], max(start, f.bases[0])); err != nil {
		return err
	}
	if rec.epochs, rec.epochsBad, err = l.readEpochs(); err != nil {
		return err
	}
	if err := rec.scan(f.bases[first:]); err != nil {
		return err
	}
	if err := rec.finish(max(start, f.bases[0])); err != nil {
		return err
	}
	l.removeStraySnapshots(f, f.bases[first])
	l.setHWAtOpen(hw)
	l.noteRecovery(rec.r)
	return nil
}

func (l *Log) noteRecovery(r Recovery) {
	l.mu.Lock()
	l.recovery = r
	l.mu.Unlock()
	l.dir.cfg.Events.recovered(l, r)
	l.dir.markDirty(l)
}

// recovering is one log's recovery under way.
type recovering struct {
	l       *Log
	durable int64
	segs    []*segment.Segment
	table   *producer.Table
	epochs  *epochVotes
	// epochsBad is what is wrong with the bytes of the epoch checkpoint.
	epochsBad error
	r         Recovery
	end       int64
}

// producersBefore makes the producer table as of offset from, where the scan
// begins.
func (r *recovering) producersBefore(snapshots []int64, from, start int64) (err error) {
	r.l.start.Store(start)
	if len(r.segs) == 0 {
		r.table = producer.NewTable()
		return nil
	}
	r.table, err = r.l.producersAt(r.segs, snapshots, from)
	return err
}

// scan reads the segments from the recovery point on.
func (r *recovering) scan(bases []int64) error {
	l := r.l
	cfg := l.dir.segmentConfig(l, l.cfg.Load())
	for i, base := range bases {
		if i > 0 && base != r.end && base > r.durable {
			// The tail of the segment before never reached the disk, though
			// this one did: the log ends where it is whole.
			return r.dropSegments(bases[i:])
		}
		s := segment.Open(cfg, l.path, segment.Known{Base: base})
		var aborted []AbortedTxn
		until := int64(math.MaxInt64)
		if i+1 < len(bases) {
			until = bases[i+1]
		}
		got, err := s.Recover(r.durable, until, func(_ int64, v batch.View) error {
			r.epochs.add(v)
			if !v.HasProducerID() {
				return nil
			}
			return replay(r.table, v, func(a AbortedTxn) { aborted = append(aborted, a) })
		})
		if err != nil {
			return err
		}
		s.SetAborted(aborted)
		r.r.ScannedBytes += got.Good
		r.segs = append(r.segs, s)
		r.end = got.Next
		for _, d := range got.Damage {
			if d.Next < 0 { // up to the next segment, or the durable point
				d.Next = max(r.durable, d.First)
				if i+1 < len(bases) {
					d.Next = bases[i+1]
				}
				s.SetNext(d.Next)
				r.end = d.Next
			}
			r.damaged(&CorruptError{Path: d.Path, Pos: d.Pos, Offset: d.First, Next: d.Next, Reason: d.Reason})
		}
		if got.Good < got.Size {
			return r.cut(s, got, bases[i+1:])
		}
		if i+1 < len(bases) && r.end < bases[i+1] && r.end >= r.durable && !r.mayHaveGaps() {
			// Writes that were not synced: the end of this segment is gone,
			// a later one is there. What it follows is lost.
			return r.cut(s, got, bases[i+1:])
		}
		if i+1 < len(bases) && r.end < bases[i+1] && r.end < r.durable && len(got.Damage) == 0 && !r.mayHaveGaps() {
			r.damaged(&CorruptError{Path: s.Path(segment.LogSuffix), Pos: got.Good, Offset: r.end, Next: bases[i+1], Reason: "the segment ends before the next one begins"})
		}
	}
	return nil
}

// mayHaveGaps: compaction leaves offsets out.
func (r *recovering) mayHaveGaps() bool { return r.l.cfg.Load().Compact }

func (r *recovering) damaged(c *CorruptError) {
	r.r.Damage = append(r.r.Damage, c)
	r.l.tell(c)
}

// cut removes what lies above the durable point and is no batch, with the
// segments that follow. What may be of value is set aside first: whole batches
// behind the bad bytes.
func (r *recovering) cut(s *segment.Segment, got segment.Recovered, later []int64) error {
	l := r.l
	r.r.CutBytes += got.Size - got.Good
	path := s.Path(segment.LogSuffix)
	if got.Followed {
		if err := l.setAside(path, got.Good, got.Size); err != nil {
			return err
		}
	}
	if err := r.dropSegments(later); err != nil {
		return err
	}
	return s.Cut(got.Good)
}

// dropSegments takes whole segments above the durable point out of the log;
// what they hold is kept under another name.
func (r *recovering) dropSegments(bases []int64) error {
	l := r.l
	for _, base := range bases {
		from := filepath.Join(l.path, segment.FileName(base, segment.LogSuffix))
		fi, err := l.dir.fs.Stat(from)
		if err != nil {
			return err
		}
		r.r.CutBytes += fi.Size()
		for _, kind := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix, segment.SnapshotSuffix} {
			_ = l.dir.fs.Remove(filepath.Join(l.path, segment.FileName(base, kind)))
		}
		if fi.Size() == 0 {
			err = l.dir.fs.Remove(from)
		} else {
			err = l.dir.fs.Rename(from, from+setAsideSuffix)
		}
		if err != nil {
			return err
		}
	}
	// Durable before anything is appended, or it might come back behind that.
	return l.dir.fs.SyncDir(l.path)
}

// setAside copies bytes that are about to be cut to a file of their own.
func (l *Log) setAside(path string, from, upTo int64) error {
	in, err := l.dir.fs.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	name := fmt.Sprintf("%s.%d%s", path, from, setAsideSuffix)
	_ = l.dir.fs.Remove(name)
	out, err := l.dir.fs.Create(name)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for at := from; at < upTo && err == nil; {
		var n int
		n, err = in.ReadAt(buf[:min(int64(len(buf)), upTo-at)], at)
		if n > 0 {
			_, err = out.WriteAt(buf[:n], at-from)
		}
		at += int64(n)
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if vfs.IsNoSpace(err) {
		_ = l.dir.fs.Remove(name) // no room for a copy of what was never promised
		return nil
	}
	return err
}

// finish publishes what the scan found, and makes sure that no durable offset
// is given a second time.
func (r *recovering) finish(start int64) error {
	l := r.l
	active := r.segs[len(r.segs)-1]
	size, _ := active.Tail()
	lost := r.end < r.durable
	if lost && len(r.r.Damage) == 0 {
		r.damaged(&CorruptError{Path: active.Path(segment.LogSuffix), Pos: size, Offset: r.end, Next: r.durable, Reason: "the end of the log is missing"})
	}
	// A segment that ends in damage takes no more appends, and offsets below
	// the durable point are not given a second time.
	holes := active.Damages()
	ends := len(holes) > 0 && holes[len(holes)-1].End >= size
	if lost || ends {
		base := max(r.durable, r.end)
		if !ends && !r.mayHaveGaps() { // what compaction may have left out is not missed for ever
			if err := active.NoteMissing(base); err != nil && !vfs.IsNoSpace(err) {
				return err
			}
		}
		active.Extend(base) // nothing, when that was noted
		s, err := segment.Create(l.dir.segmentConfig(l, l.cfg.Load()), l.path, base, "")
		if err != nil {
			return err
		}
		if err := active.WriteIndexes(true); err != nil {
			return err
		}
		r.segs = append(r.segs, s)
		r.end = base
	}
	l.adopt(r.segs, min(start, r.end), r.end)
	l.mu.Lock()
	// Differs from Kafka: nobody expires here, for the times are the records'
	// own, and a producer of old records may be about to try its last batch
	// again. Retention expires those that are not heard of.
	l.producers = r.table
	l.noteUnstableLocked()
	// What was found may be in the page cache only: the first commit makes it
	// durable, and nothing counts as flushed before.
	l.dirtyDir = true
	for _, s := range r.segs {
		if _, next := s.Tail(); next >= r.r.From {
			l.dirtyLocked(s)
		}
	}
	l.sealedUpTo = r.r.From
	l.mu.Unlock()
	l.flushed.Store(min(r.durable, r.end))
	if err := l.recoverEpochs(r.epochs, r.epochsBad, r.r.From); err != nil {
		return err
	}
	for i, s := range r.segs[:len(r.segs)-1] {
		if s.Base() >= r.r.From {
			l.dir.sealLater(sealJob{l, s, r.segs[i+1].Base(), nil, l.cuts})
		}
	}
	r.r.End = r.end
	r.r.LostTail = !l.dir.sameBoot || r.r.CutBytes > 0 || len(r.r.Damage) > 0
	return nil
}

func (d *Dir) recoveryOnDisk(n Name) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.recovery[n]
}
