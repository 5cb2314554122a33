// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"math"
	"slices"
	"time"

	"gregor/internal/storage"
)

// situation is what the decisions of this file rest on.
type situation struct {
	start, end int64
	stable     int64 // the last stable offset
	segments   []storage.SegmentInfo
	config     storage.LogConfig
	checkpoint int64 // where the last cleaning ended, or -1
	now        time.Time
	// firstTimestamp is a segment's first batch's, in ms, or -1. Asked only
	// where max.compaction.lag.ms is set.
	firstTimestamp func(base int64) int64
}

// Dirt is what a log has to clean.
type Dirt struct {
	// From is the first dirty offset, UpTo where cleaning must end: the base
	// of a segment.
	From, UpTo int64
	// Reset says that the checkpoint pointed outside the log.
	Reset bool
	// CleanBytes lie before From, DirtyBytes in [From, UpTo).
	CleanBytes, DirtyBytes int64
	// Late is by how much the oldest dirty record is over
	// max.compaction.lag.ms; zero when it is not.
	Late time.Duration
}

// Ratio is the dirty part of what can be cleaned.
func (d Dirt) Ratio() float64 {
	if d.CleanBytes+d.DirtyBytes == 0 {
		return 0
	}
	return float64(d.DirtyBytes) / float64(d.CleanBytes+d.DirtyBytes)
}

// worthwhile says whether a log is to be cleaned now.
func (d Dirt) worthwhile(c storage.LogConfig) bool {
	return d.DirtyBytes > 0 && (d.Late > 0 || d.Ratio() > c.MinDirtyRatio)
}

// assess finds the range that may be cleaned.
func assess(s situation) Dirt {
	d := Dirt{From: s.checkpoint}
	if s.checkpoint < s.start || s.checkpoint > s.end {
		// Never cleaned, cut off by retention, or ahead of a log that lost
		// its tail: then all of it counts as dirty.
		d.From, d.Reset = s.start, s.checkpoint >= 0
	}
	bound := s.stable
	for _, seg := range s.segments {
		young := s.config.MinCompactionLag > 0 && seg.Next > d.From &&
			seg.MaxTimestamp > s.now.Add(-s.config.MinCompactionLag).UnixMilli()
		if seg.Active || young || seg.HasDamage && seg.Next > d.From {
			bound = min(bound, seg.Base)
			break
		}
	}
	d.UpTo = d.From
	for _, seg := range s.segments {
		if seg.Next > bound || seg.Active {
			break
		}
		if seg.Base < d.From {
			d.CleanBytes += seg.Bytes
		}
		if seg.Next > d.From {
			d.DirtyBytes += seg.Bytes
			d.UpTo = seg.Next
		}
	}
	d.Late = s.late(d)
	return d
}

func (s *situation) late(d Dirt) time.Duration {
	if s.config.MaxCompactionLag <= 0 {
		return 0
	}
	oldest := int64(math.MaxInt64)
	for _, seg := range s.segments {
		if seg.Next > d.From && !seg.Active {
			if ts := s.firstTimestamp(seg.Base); ts > 0 {
				oldest = min(oldest, ts)
			}
		}
	}
	if deadline := s.now.Add(-s.config.MaxCompactionLag).UnixMilli(); oldest < deadline {
		return time.Duration(deadline-oldest) * time.Millisecond
	}
	return 0
}

// group splits the segments below upTo into runs that fit into one segment
// each, by bytes, by index and by the 2^31 offsets that an index can span.
// Segments with damage stay as they are, in no group.
func group(segments []storage.SegmentInfo, upTo int64, c storage.LogConfig) [][]storage.SegmentInfo {
	var groups [][]storage.SegmentInfo
	var run []storage.SegmentInfo
	var bytes, index int64
	flush := func() {
		if len(run) > 0 {
			groups = append(groups, run)
		}
		run, bytes, index = nil, 0, 0
	}
	for _, seg := range segments {
		if seg.Base >= upTo || seg.Active {
			break
		}
		if seg.HasDamage {
			flush()
			continue
		}
		entries := indexSize(seg.Bytes, c)
		if len(run) > 0 && (bytes+seg.Bytes > c.SegmentBytes || index+entries > int64(c.IndexBytes) ||
			seg.Next-1-run[0].Base > math.MaxInt32) {
			flush()
		}
		run = append(run, seg)
		bytes, index = bytes+seg.Bytes, index+entries
	}
	flush()
	return groups
}

// indexSize is the most that an index of n bytes of log takes: an entry of the
// larger kind, 12 bytes, each interval.
func indexSize(n int64, c storage.LogConfig) int64 {
	return (n/int64(max(1, c.IndexInterval)) + 1) * 12
}

// dirtiest picks the log to clean next; ok is false when none is worthwhile.
func dirtiest(candidates []candidate) (best candidate, ok bool) {
	candidates = slices.DeleteFunc(candidates, func(c candidate) bool { return !c.dirt.worthwhile(c.log.Config()) })
	for _, c := range candidates {
		if !ok || c.dirt.Ratio() > best.dirt.Ratio() {
			best, ok = c, true
		}
	}
	return best, ok
}

type candidate struct {
	log  Log
	dirt Dirt
}
