// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"fmt"
	"math"
	"slices"
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// rollIfNeededLocked makes room for vs: Kafka's LogSegment.shouldRoll.
func (l *Log) rollIfNeededLocked(cfg *LogConfig, vs []batch.View, total int64) error {
	size, _ := l.active.Tail()
	last := vs[len(vs)-1].LastOffset()
	roll := size > cfg.SegmentBytes-total ||
		l.active.IndexFull(cfg.IndexBytes) ||
		last-l.active.Base() > math.MaxInt32
	if !roll && size > 0 && cfg.SegmentAge > 0 {
		newest := int64(-1)
		for _, v := range vs {
			newest = max(newest, v.MaxTimestamp())
		}
		var waited time.Duration
		if first := l.active.FirstTimestamp(); first >= 0 {
			waited = clampMillis(newest - first)
		} else {
			waited = time.Since(l.active.Created())
		}
		roll = waited > cfg.SegmentAge-l.jitter
	}
	if !roll {
		return nil
	}
	return l.rollLocked(vs[0].BaseOffset())
}

func clampMillis(ms int64) time.Duration {
	if ms > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}

// rollLocked makes a new active segment at base. The old one's indexes and the
// producer snapshot are written in the background, before the recovery point
// passes them.
func (l *Log) rollLocked(base int64) error {
	old := l.active
	size, _ := old.Tail()
	if size == 0 && old.Base() == base {
		return nil
	}
	cfg := l.cfg.Load()
	if all := *l.segs.Load(); l.isNew.Load() && len(all) == 1 && l.flushed.Load() <= all[0].Base() {
		// Were the first file's name lost in a power cut and the second's not,
		// nothing would show that the log had begun before it.
		if err := l.dir.fs.SyncDir(l.path); err != nil {
			l.dir.fail(fmt.Errorf("sync %s: %w", l.path, err))
			return l.dir.Err()
		}
	}
	s, err := segment.Create(l.dir.segmentConfig(l, cfg), l.path, base, "")
	if err != nil {
		if vfs.IsNoSpace(err) {
			if !cfg.Reserve || !l.dir.releaseReserve() {
				l.dir.full(true)
				return fmt.Errorf("roll %s: %w", l.name, ErrNoSpace)
			}
			s, err = segment.Create(l.dir.segmentConfig(l, cfg), l.path, base, "")
		}
		if err != nil {
			return l.ioError(err)
		}
	}
	if cfg.Preallocate {
		if h, err := s.File(); err == nil {
			_ = h.Preallocate(0, cfg.SegmentBytes)
			h.Release()
		}
	}
	next := *l.segs.Load()
	if size == 0 { // an empty segment at another base gives way
		next = next[:len(next)-1]
	}
	next = append(slices.Clip(next), s)
	l.dropHandleLocked()
	l.active = s
	l.segs.Store(&next)
	l.dirtyDir = true
	l.drawJitterLocked()
	if size == 0 {
		old.Remove()
	} else {
		if cfg.Preallocate { // by this process or one before it
			old.Preallocated()
		}
		old.Retire()
		l.dir.sealLater(sealJob{l, old, base, l.producers.AppendSnapshot(nil), l.cuts})
	}
	l.dir.cfg.Events.rolled(l, base)
	return nil
}

// Roll closes the active segment if it holds anything.
func (l *Log) Roll() error {
	if err := l.wake(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	return l.rollLocked(l.end.Load())
}
