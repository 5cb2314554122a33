// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gregor/internal/batch"
	"gregor/internal/storage/producer"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// Opening a log. Three ways in:
//
//   - asleep: a catalogue told everything; the active segment's index is read
//     at the first touch.
//   - clean, without a catalogue: the directory is listed, the end measured
//     from the indexes, dedup state read from a snapshot and batch headers.
//   - unclean: from the recovery point on every byte is read and checked.
//     Above the durable point the first bad byte cuts the log; below it bad
//     bytes are damage, which stays where it is and is stepped over.

// load brings an existing log into memory; the caller holds opening.
func (l *Log) load() error {
	if l.known != nil {
		ok, err := l.loadKnown()
		if ok || err != nil {
			return err
		}
		// The files are not what the catalogue says: believe the files.
		l.known = nil
		l.dir.cfg.Events.rebuilt(filepath.Join(l.dir.path, catalogueName), "log "+l.name.String()+" differs from it")
		return l.recover()
	}
	if l.dir.clean {
		return l.loadClean()
	}
	return l.recover()
}

// found is what a log's directory holds.
type found struct {
	bases     []int64
	snapshots []int64
}

// list reads the log's directory, finishes or undoes what a crash interrupted
// (deletions, swaps of cleaned segments) and returns what is there.
func (l *Log) list() (f found, err error) {
	fsys := l.dir.fs
	entries, err := fsys.List(l.path)
	if err != nil {
		return f, err
	}
	var swaps []int64
	cleaned := int64(math.MaxInt64)
	names := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		base, suffix, ok := parseFileName(name)
		switch {
		case !ok:
		case strings.HasSuffix(suffix, segment.DeletedSuffix), strings.HasSuffix(suffix, segment.CleanedSuffix):
			if strings.HasSuffix(suffix, segment.CleanedSuffix) {
				cleaned = min(cleaned, base)
			}
			if err := fsys.Remove(filepath.Join(l.path, name)); err != nil {
				return f, err
			}
		case suffix == segment.LogSuffix+segment.SwapSuffix:
			swaps = append(swaps, base)
		default:
			names[name] = true
		}
	}
	for _, base := range swaps {
		if err := l.finishSwap(base, names); err != nil {
			return f, err
		}
	}
	for name := range names {
		base, suffix, _ := parseFileName(name)
		switch suffix {
		case segment.LogSuffix:
			f.bases = append(f.bases, base)
		case segment.SnapshotSuffix:
			f.snapshots = append(f.snapshots, base)
		}
	}
	slices.Sort(f.bases)
	slices.Sort(f.snapshots)
	return f, nil
}

// parseFileName splits "00000000000000000042.index.deleted".
func parseFileName(name string) (base int64, suffix string, ok bool) {
	if len(name) < 21 || name[20] != '.' {
		return 0, "", false
	}
	base, err := strconv.ParseInt(name[:20], 10, 64)
	return base, name[20:], err == nil && base >= 0
}

// finishSwap completes the replacement of segments by a cleaned one: a .swap
// log is whole (it was synced before it got that name), so the segments that
// it covers go and it takes its name.
func (l *Log) finishSwap(base int64, names map[string]bool) error {
	fsys := l.dir.fs
	s := segment.Open(l.dir.segmentConfig(l, l.cfg.Load()), l.path, segment.Known{Base: base})
	swap := s.Path(segment.LogSuffix) + segment.SwapSuffix
	f, err := fsys.Open(swap)
	if err != nil {
		return err
	}
	size, err := f.Size()
	next := base + 1
	if err == nil {
		_, _, err = segment.Walk(f, 0, size, base, false, func(_ int64, v batch.View) error {
			next = v.NextOffset()
			return nil
		})
	}
	_ = f.Close()
	if err != nil {
		return err
	}
	for name := range names {
		b, suffix, _ := parseFileName(name)
		if b < base || b >= next || suffix == segment.SnapshotSuffix || strings.HasSuffix(suffix, segment.SwapSuffix) {
			continue
		}
		if err := fsys.Remove(filepath.Join(l.path, name)); err != nil {
			return err
		}
		delete(names, name)
	}
	for _, kind := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix, segment.LogSuffix} {
		to := segment.FileName(base, kind)
		err := fsys.Rename(filepath.Join(l.path, to+segment.SwapSuffix), filepath.Join(l.path, to))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		delete(names, to+segment.SwapSuffix)
		names[to] = true
	}
	return fsys.SyncDir(l.path)
}

// loadClean opens the log after a clean stop that left no catalogue.
func (l *Log) loadClean() error {
	f, err := l.list()
	if err != nil {
		return err
	}
	start := l.dir.starts[l.name]
	if len(f.bases) == 0 {
		return l.startEmpty(start)
	}
	segs, err := l.openSealed(f.bases[:len(f.bases)-1], f.bases)
	if err != nil {
		return err
	}
	active := segment.Open(l.dir.segmentConfig(l, l.cfg.Load()), l.path, segment.Known{Base: f.bases[len(f.bases)-1]})
	if err := active.Measure(); err != nil {
		return err
	}
	segs = append(segs, active)
	l.start.Store(max(start, f.bases[0]))
	if err := l.activate(active, segs); err != nil {
		return err
	}
	_, end := active.Tail()
	l.adopt(segs, max(start, f.bases[0]), end)
	l.flushed.Store(end)
	if err := l.loadEpochs(); err != nil {
		return err
	}
	if err := l.rebuildProducers(f.snapshots, end); err != nil {
		return err
	}
	l.removeStraySnapshots(f, end)
	l.sealedUpTo = active.Base()
	l.setHWAtOpen(l.dir.hws[l.name])
	return nil
}

// openSealed opens segments that lie wholly below the recovery point, by what
// their files' sizes and names say.
func (l *Log) openSealed(bases, all []int64) ([]*segment.Segment, error) {
	segs := make([]*segment.Segment, 0, len(all))
	for i, base := range bases {
		s := segment.Open(l.dir.segmentConfig(l, l.cfg.Load()), l.path, segment.Known{Base: base})
		if err := s.OpenSealed(all[i+1]); err != nil {
			return nil, err
		}
		segs = append(segs, s)
	}
	return segs, nil
}

func (l *Log) startEmpty(start int64) error {
	s, err := segment.Create(l.dir.segmentConfig(l, l.cfg.Load()), l.path, start, "")
	if err != nil {
		return err
	}
	l.adopt([]*segment.Segment{s}, start, start)
	l.flushed.Store(start)
	l.sealedUpTo = start
	l.mu.Lock()
	l.dirtyDir = true
	l.mu.Unlock()
	l.setHWAtOpen(start)
	return l.loadEpochs()
}

// adopt publishes the segments and the offsets of a log that was loaded.
func (l *Log) adopt(segs []*segment.Segment, start, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = segs[len(segs)-1]
	l.segs.Store(&segs)
	l.start.Store(start)
	l.end.Store(end)
	var size int64
	for _, s := range segs {
		n, _ := s.Tail()
		size += n
	}
	l.size.Store(size)
	l.drawJitterLocked()
}

func (l *Log) setHWAtOpen(hw int64) {
	l.hw.Store(min(max(hw, l.start.Load()), l.end.Load()))
	l.mu.Lock()
	l.producers.Committed(l.hw.Load())
	l.noteUnstableLocked()
	l.mu.Unlock()
}

// visit calls f with the headers of the batches of [from, upTo).
func (l *Log) visit(from, upTo int64, f func(batch.View) error) error {
	return visit(*l.segs.Load(), from, upTo, f)
}

func visit(segs []*segment.Segment, from, upTo int64, f func(batch.View) error) error {
	if len(segs) == 0 {
		return nil
	}
	for _, s := range segs[segmentFor(segs, from):] {
		if s.Base() >= upTo {
			return nil
		}
		stopped := false
		err := s.Visit(from, upTo, func(_ int64, v batch.View) error {
			err := f(v)
			stopped = errors.Is(err, segment.ErrStop)
			return err
		})
		if stopped {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rebuildProducers makes the producer table as of offset end.
func (l *Log) rebuildProducers(snapshots []int64, end int64) error {
	t, err := l.producersAt(*l.segs.Load(), snapshots, end)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.producers = t
	l.noteUnstableLocked()
	l.mu.Unlock()
	return nil
}

// replayBytes is how far back at least, besides one whole segment, headers are
// read to learn five batches of each producer: a snapshot knows only the last.
// It is more than five requests of a producer and what came between.
const replayBytes = 32 << 20

// producersAt makes the producer table as of offset end from the batch headers
// of segs and, unless they reach back to the log start, a snapshot.
func (l *Log) producersAt(segs []*segment.Segment, snapshots []int64, end int64) (*producer.Table, error) {
	start := l.start.Load()
	i := segmentFor(segs, end)
	var bytes int64
	for whole := 0; i > 0 && segs[i].Base() > start && (whole == 0 || bytes < replayBytes); whole++ {
		i--
		size, _ := segs[i].Tail()
		bytes += size
	}
	bound := segs[i].Base()
	t := producer.NewTable()
	at := start
	for k := len(snapshots) - 1; k >= 0; k-- {
		o := snapshots[k]
		if o > bound || o <= start {
			continue
		}
		path := filepath.Join(l.path, segment.FileName(o, segment.SnapshotSuffix))
		b, err := vfs.ReadFile(l.dir.fs, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			err = t.Load(b)
		}
		if err == nil {
			at = o
			break
		}
		t.Clear()
		l.dir.cfg.Events.rebuilt(path, err.Error())
		_ = l.dir.fs.Remove(path)
	}
	err := visit(segs, at, end, func(v batch.View) error {
		if v.BaseOffset() < at || !v.HasProducerID() {
			return nil
		}
		return replay(t, v, nil)
	})
	return t, err
}

// replay takes a batch of the log into t. What was appended is a fact: the
// rules of Replication apply.
func replay(t *producer.Table, v batch.View, aborted func(AbortedTxn)) error {
	u := t.Prepare(producer.Rules{Origin: producer.Replication})
	if err := u.Add(v); err != nil {
		return err
	}
	t.Apply(u, func(c producer.Completed, stable int64) {
		if c.Aborted && aborted != nil {
			aborted(AbortedTxn{ProducerID: c.ProducerID, FirstOffset: c.First, LastOffset: c.Last, StableOffset: stable})
		}
	})
	return nil
}

// activate makes s, one of segs, ready for appends; a transaction index that
// cannot be right is made anew.
func (l *Log) activate(s *segment.Segment, segs []*segment.Segment) error {
	err := s.Activate()
	var bad *segment.BadIndexError
	if !errors.As(err, &bad) {
		return err
	}
	ts, err := l.rebuildAborted(s, segs)
	if err != nil {
		return err
	}
	s.SetAborted(ts)
	l.dir.cfg.Events.rebuilt(bad.Path, bad.Err.Error())
	return s.Activate()
}

// rebuildAborted finds the aborted transactions whose markers lie in s, one of
// segs.
func (l *Log) rebuildAborted(s *segment.Segment, segs []*segment.Segment) ([]AbortedTxn, error) {
	_, next := s.Tail()
	var ts []AbortedTxn
	t := producer.NewTable()
	err := visit(segs, l.start.Load(), next, func(v batch.View) error {
		if !v.HasProducerID() {
			return nil
		}
		return replay(t, v, func(a AbortedTxn) {
			if a.LastOffset >= s.Base() && a.LastOffset < next {
				ts = append(ts, a)
			}
		})
	})
	return ts, err
}

// removeStraySnapshots removes snapshots that belong to no segment, but for
// the latest, which a clean stop left.
func (l *Log) removeStraySnapshots(f found, end int64) {
	for i, o := range f.snapshots {
		_, isBase := slices.BinarySearch(f.bases, o)
		if isBase || i == len(f.snapshots)-1 && o <= end {
			continue
		}
		_ = l.dir.fs.Remove(filepath.Join(l.path, segment.FileName(o, segment.SnapshotSuffix)))
	}
}
