// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"math"
	"sync"
	"time"
	"unsafe"

	"gregor/internal/batch"
	"gregor/internal/storage/producer"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// Append assigns offsets (unless Origin is Replication), stamps the leader
// epoch and writes.
func (l *Log) Append(v batch.View, a Append) (Appended, error) {
	one := [1]batch.View{v}
	return l.AppendAll(one[:], a)
}

// AppendAll appends the batches of one request, whole or not at all. When they
// are neighbours in memory they are written without a copy.
func (l *Log) AppendAll(vs []batch.View, a Append) (Appended, error) {
	total, err := checkFrames(vs)
	if err != nil {
		return Appended{}, err
	}
	if err := l.wake(); err != nil {
		return Appended{}, err
	}
	l.mu.Lock()
	r, mark, err := l.appendLocked(vs, total, a)
	l.mu.Unlock()
	if mark {
		l.dir.markDirty(l)
	}
	return r, err
}

func checkFrames(vs []batch.View) (int64, error) {
	var total int64
	for _, v := range vs {
		if len(v) < batch.HeaderSize || len(v) != v.Size() || v.Magic() != 2 || v.LastOffsetDelta() < 0 {
			return 0, fmt.Errorf("%w: it is no whole batch of format 2", ErrInvalidBatch)
		}
		total += int64(len(v))
	}
	if total == 0 {
		return 0, fmt.Errorf("%w: it is empty", ErrInvalidBatch)
	}
	return total, nil
}

func (l *Log) appendLocked(vs []batch.View, total int64, a Append) (r Appended, mark bool, err error) {
	if err := l.usable(); err != nil {
		return r, false, err
	}
	cfg := l.cfg.Load()
	if total > cfg.SegmentBytes {
		return r, false, fmt.Errorf("%w: %d bytes, a segment has %d", ErrRecordListTooLarge, total, cfg.SegmentBytes)
	}
	r.LogStart = l.start.Load()
	producers := false
	for _, v := range vs {
		producers = producers || v.HasProducerID()
	}
	if producers && a.Origin == Client {
		if r, dup, err := l.duplicateLocked(vs, r); dup || err != nil {
			return r, false, err
		}
	}
	r.First, r.Last, err = stamp(vs, l.end.Load(), a)
	if err != nil {
		return r, false, err
	}
	var u *producer.Update
	if producers {
		u = l.producers.Prepare(producer.Rules{Origin: a.Origin, TxnVersion: a.TxnVersion, Guarded: a.Guarded, Guard: a.Guard})
		for _, v := range vs {
			if err := u.Add(v); err != nil {
				return r, false, fmt.Errorf("producer %d, epoch %d, sequence %d, offset %d: %w",
					v.ProducerID(), v.ProducerEpoch(), v.BaseSequence(), v.BaseOffset(), err)
			}
		}
	}
	if err := l.rollIfNeededLocked(cfg, vs, total); err != nil {
		return r, false, err
	}
	if err := l.writeLocked(cfg, vs, total); err != nil {
		return r, false, err
	}
	if a.Origin == Replication && vs[0].LeaderEpoch() < l.epochs.Latest() && l.epochs.TruncateEnd(l.end.Load()) {
		// An epoch that begins at the end has no record here, and the leader's
		// has one of an older epoch: nothing was written in that one.
		l.epochsDirty = true
	}
	for _, v := range vs {
		if e := v.LeaderEpoch(); e > l.epochs.Latest() && l.epochs.Assign(e, v.BaseOffset()) {
			l.epochsDirty = true
		}
	}
	l.size.Add(total)
	if u != nil {
		l.producers.Apply(u, func(c producer.Completed, stable int64) {
			if c.Aborted {
				l.active.AddAborted(AbortedTxn{ProducerID: c.ProducerID, FirstOffset: c.First, LastOffset: c.Last, StableOffset: stable})
			}
		})
		l.noteUnstableLocked()
	}
	// Last: the end may be made the high watermark by who holds no lock, and the
	// last stable offset with it.
	l.end.Store(r.Last + 1)
	return r, l.flushDueLocked(cfg, r.Last-r.First+1), nil
}

// flushDueLocked decides whether the append asks the committer at once.
func (l *Log) flushDueLocked(cfg *LogConfig, messages int64) bool {
	if cfg.Durable {
		return true
	}
	l.dir.foreign.Add(1)
	if l.unflushed == 0 {
		l.unflushedFrom = time.Now()
	}
	l.unflushed += messages
	return cfg.FlushMessages > 0 && l.unflushed >= cfg.FlushMessages
}

// duplicateLocked finds the original of an append that was made before.
func (l *Log) duplicateLocked(vs []batch.View, r Appended) (Appended, bool, error) {
	found := 0
	for _, v := range vs {
		m, ok := l.producers.Duplicate(v)
		if !ok {
			continue
		}
		if found == 0 {
			r.First = m.First()
		}
		r.Last, r.Timestamp = m.LastOffset, m.Timestamp
		found++
	}
	if found == 0 {
		return r, false, nil
	}
	if found < len(vs) {
		return Appended{}, false, ErrDuplicateSequence
	}
	r.Duplicate = true
	return r, true, nil
}

// stamp gives the batches their offsets and epoch, or checks those they bring.
func stamp(vs []batch.View, end int64, a Append) (first, last int64, err error) {
	next := end
	for _, v := range vs {
		if a.Origin == Replication {
			if v.BaseOffset() < next || v.BaseOffset() > math.MaxInt64-math.MaxInt32-1 {
				return 0, 0, fmt.Errorf("%w: base offset %d below the log end %d", ErrInvalidBatch, v.BaseOffset(), next)
			}
		} else {
			v.SetBaseOffset(next)
			v.SetLeaderEpoch(a.LeaderEpoch)
		}
		next = v.NextOffset()
	}
	return vs[0].BaseOffset(), next - 1, nil
}

// writeLocked writes the batches at the end of the active segment. A full disk
// undoes the write and leaves the directory online.
func (l *Log) writeLocked(cfg *LogConfig, vs []batch.View, total int64) error {
	h, err := l.handleLocked()
	if err != nil {
		return l.ioError(err)
	}
	if !cfg.Reserve && l.dir.cfg.ReserveBytes > 0 && l.dir.noSpace.Load() && !l.dir.reserved.Load() {
		// The reserve was given up for the metadata log: its room is not for
		// others, so appends wait until there is a reserve again.
		if l.dir.keepReserve(); !l.dir.reserved.Load() {
			return fmt.Errorf("append to %s: %w", l.name, ErrNoSpace)
		}
	}
	b, pooled := contiguous(vs, total)
	l.dir.writes.begin()
	defer l.dir.writes.end()
	ahead := l.aheadLocked(cfg, total)
	err = l.active.Append(h, b, vs, ahead)
	for err != nil {
		full := vfs.IsNoSpace(err)
		if uerr := l.active.Undo(h); uerr != nil {
			l.dir.fail(fmt.Errorf("undo a failed append to %s: %w", l.name, uerr))
			return l.dir.Err()
		}
		if !full {
			return l.ioError(err)
		}
		if !cfg.Reserve || !l.dir.releaseReserve() {
			l.dir.full(true)
			return fmt.Errorf("append to %s: %w", l.name, ErrNoSpace)
		}
		err = l.active.Append(h, b, vs, ahead)
	}
	if pooled != nil {
		copyBuffers.Put(pooled)
	}
	if l.dir.noSpace.Load() && !cfg.Reserve {
		l.dir.full(false)
	}
	l.dirtyLocked(l.active)
	l.uncommitted += total
	return nil
}

// What zeroes ahead of the end make cheaper (segment/ahead.go) are commits of a
// durable log that take few bytes each, and small appends to one that is not
// durable. A log that had several of them in a row gets zeroes; a durable one
// only when few others are committed with it, for they are synced too.
const (
	smallCommit = 128 << 10
	smallInARow = 4
	smallAmong  = 4

	briefAppend = 32 << 10
	briefInARow = 16
)

// aheadLocked says how far ahead of the end the active segment is kept.
func (l *Log) aheadLocked(cfg *LogConfig, appended int64) segment.Ahead {
	if appended <= briefAppend {
		l.brief = min(l.brief+1, briefInARow)
	} else {
		l.brief = 0
	}
	if cfg.Durable && l.small < smallInARow || !cfg.Durable && l.brief < briefInARow {
		return segment.Ahead{}
	}
	return segment.Ahead{Bytes: l.dir.cfg.ZeroAhead, Limit: cfg.SegmentBytes}
}

func (l *Log) dirtyLocked(s *segment.Segment) {
	for _, d := range l.dirty {
		if d == s {
			return
		}
	}
	if s.Acquire() {
		l.dirty = append(l.dirty, s)
	}
}

func (l *Log) handleLocked() (*segment.Handle, error) {
	if l.handle == nil {
		h, err := l.active.File()
		if err != nil {
			return nil, err
		}
		l.handle = h
	}
	return l.handle, nil
}

func (l *Log) dropHandleLocked() {
	if l.handle != nil {
		l.handle.Release()
		l.handle = nil
	}
}

var copyBuffers = sync.Pool{New: func() any { return new([]byte) }}

// contiguous returns the batches as one run of bytes: as they lie when they are
// neighbours, else copied to a pooled buffer.
func contiguous(vs []batch.View, total int64) (b []byte, pooled *[]byte) {
	if len(vs) == 1 {
		return vs[0], nil
	}
	neighbours := true
	for i := 1; i < len(vs); i++ {
		prev := unsafe.Pointer(unsafe.SliceData(vs[i-1]))
		if unsafe.Add(prev, len(vs[i-1])) != unsafe.Pointer(unsafe.SliceData(vs[i])) {
			neighbours = false
		}
	}
	if neighbours && int64(cap(vs[0])) >= total {
		return vs[0][:total], nil
	}
	pooled = copyBuffers.Get().(*[]byte)
	b = (*pooled)[:0]
	for _, v := range vs {
		b = append(b, v...)
	}
	*pooled = b
	return b, pooled
}
