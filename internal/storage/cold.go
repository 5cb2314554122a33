// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"time"

	"gregor/internal/storage/segment"
)

// Reads of old data share the disk with commits. The system reads ahead by
// megabytes, and what producers wait for stands in the queue behind that. So
// while a directory commits, what a read finds missing from the page cache is
// brought in first, by small pieces, one for the whole directory at a time and
// each in the gap after a commit:
//
//	commits  ──█████──────███████──────████──
//	pieces   ───────▒──────────────▒───────▒─
//
// Without commits the system reads ahead as it likes, and at the end of a log,
// where the page cache has everything, nothing is asked at all
// (docs/adr/0181-cold-reads-in-the-gaps.md).
const (
	coldPiece    = 256 << 10
	coldMost     = 1 << 20               // of one read
	coldMin      = 16 << 10              // smaller reads are let through
	coldPatience = 20 * time.Millisecond // how long a piece waits for a commit to end
	warmEnd      = 64 << 20              // so near the end of the log everything is taken for cached
	committing   = time.Second           // after a commit the directory counts as busy
)

// pace brings in what a read from offset on would find missing, and returns how
// much it may read then. It waits some commits at most.
func (d *Dir) pace(s *segment.Segment, h *segment.Handle, from int64, most int64, active bool) int64 {
	if last := d.committed.Load(); d.flushing.Load() == 0 && (last == 0 || time.Since(d.opened)-time.Duration(last) > committing) {
		h.ReadAhead(true)
		return most
	}
	if most < coldMin {
		return most
	}
	pos, ok := s.Near(from)
	size, _ := s.Tail()
	if !ok || active && size-pos <= warmEnd {
		return most
	}
	n := min(max(most, coldPiece), coldMost, size-pos)
	if h.Absent(pos, n) == 0 {
		return most
	}
	d.coldTurn <- struct{}{}
	defer func() { <-d.coldTurn }()
	h.ReadAhead(false)
	for at := pos; at < pos+n; at += coldPiece {
		piece := min(coldPiece, pos+n-at)
		if h.Absent(at, piece) > 0 {
			d.awaitGap()
			h.Load(at, piece)
		}
	}
	return min(most, coldMost)
}

// awaitGap waits for the commit under way to end, not for long.
func (d *Dir) awaitGap() {
	select {
	case <-d.gap:
	default:
	}
	if d.flushing.Load() == 0 {
		return
	}
	t := time.NewTimer(coldPatience)
	defer t.Stop()
	select {
	case <-d.gap:
	case <-t.C:
	case <-d.quit:
	}
}
