// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"

	"gregor/internal/batch"
	"gregor/internal/storage/segment"
)

// OffsetForTimestamp finds the first record at or after ts.
func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, bool, error) {
	if err := l.wake(); err != nil {
		return TimestampOffset{}, false, err
	}
	start := l.start.Load()
	for _, s := range *l.segs.Load() {
		if s.MaxTime().Timestamp < ts {
			continue
		}
		if _, next := s.Tail(); next <= start {
			continue
		}
		from, err := s.FirstAtTime(ts)
		if err != nil {
			return TimestampOffset{}, false, l.readError(err)
		}
		t, ok, err := l.findRecord(s, max(from, start), func(v batch.View) bool { return v.MaxTimestamp() >= ts },
			func(r TimestampOffset) bool { return r.Timestamp >= ts && r.Offset >= start })
		if ok || err != nil {
			return t, ok, err
		}
	}
	return TimestampOffset{}, false, nil
}

// MaxTimestamp finds the first record with the largest timestamp.
func (l *Log) MaxTimestamp() (TimestampOffset, bool, error) {
	if err := l.wake(); err != nil {
		return TimestampOffset{}, false, err
	}
	var best *segment.Segment
	for _, s := range *l.segs.Load() {
		if best == nil || s.MaxTime().Timestamp > best.MaxTime().Timestamp {
			best = s
		}
	}
	m := best.MaxTime()
	if m.Timestamp < 0 {
		return TimestampOffset{}, false, nil
	}
	start := l.start.Load()
	return l.findRecord(best, max(m.Offset, start), func(v batch.View) bool { return v.MaxTimestamp() >= m.Timestamp },
		func(r TimestampOffset) bool { return r.Timestamp >= m.Timestamp && r.Offset >= start })
}

var errFound = errors.New("found")

// findRecord looks for the first record that fits, in the batches from offset
// from on that may hold one.
func (l *Log) findRecord(s *segment.Segment, from int64, may func(batch.View) bool, fits func(TimestampOffset) bool) (t TimestampOffset, ok bool, err error) {
	_, next := s.Tail()
	for from < next {
		at := int64(-1)
		err := s.Visit(from, next, func(_ int64, v batch.View) error {
			if !may(v) {
				return nil
			}
			at = v.LastOffset()
			return segment.ErrStop
		})
		if err != nil && !errors.Is(err, segment.ErrStop) {
			return t, false, l.readError(err)
		}
		if at < 0 {
			return t, false, nil
		}
		v, err := l.readBatch(s, at)
		if err != nil {
			return t, false, err
		}
		if t, ok, err = recordIn(v, fits); ok || err != nil {
			return t, ok, err
		}
		from = at + 1
	}
	return t, false, nil
}

// readBatch reads the batch that holds offset, checked.
func (l *Log) readBatch(s *segment.Segment, offset int64) (batch.View, error) {
	h, err := s.File()
	if err != nil {
		return nil, l.readError(err)
	}
	defer h.Release()
	r, err := s.Find(h, offset, offset+1, 1, true)
	if err != nil {
		return nil, l.readError(err)
	}
	if r.N == 0 { // the batch ends above offset+1
		if r, err = s.Find(h, offset, 1<<62, 1, true); err != nil {
			return nil, l.readError(err)
		}
	}
	b := make([]byte, r.N)
	if _, err := h.ReadAt(b, r.Pos); err != nil {
		return nil, l.readError(err)
	}
	return b, nil
}

// recordIn finds the first record of v that fits.
func recordIn(v batch.View, fits func(TimestampOffset) bool) (t TimestampOffset, ok bool, err error) {
	err = v.Each(nil, func(r batch.Record) error {
		x := TimestampOffset{Offset: v.BaseOffset() + int64(r.OffsetDelta),
			Timestamp: v.BaseTimestamp() + r.TimestampDelta, LeaderEpoch: v.LeaderEpoch()}
		if v.Attributes().LogAppendTime() {
			x.Timestamp = v.MaxTimestamp()
		}
		if fits(x) {
			t, ok = x, true
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return t, ok, err
}
