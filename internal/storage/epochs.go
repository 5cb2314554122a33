// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"gregor/internal/batch"
	"gregor/internal/storage/epoch"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// Leader epochs stand in two places: in the checkpoint, which has no checksum,
// and in each batch's header, where the checksum does not cover them. What is
// right says
//
//	the catalogue           after a clean stop: it has a checksum
//	the durable point       it holds the checkpoint's checksum and the epoch that
//	                        is not in there yet; for batches below the point
//	the batches             else: epochs do not fall, and the largest set of
//	                        batches that agree on an order counts
//
// A batch that does not fit is damaged: it is named and not served. So that a new
// epoch is not taken for a flipped bit, the write that raises a durable point
// names the epoch too. The checkpoint is written when a segment is sealed, at a
// clean stop, and before a commit of which the point could not tell all epochs:
// two new ones, or one that went (docs/adr/0180-a-new-epoch-costs-no-file.md).

// filedEpochs are what the checkpoint holds, and its checksum; 0: not known.
type filedEpochs struct {
	entries []epoch.Entry
	sum     uint32
}

// noEpochs is the checksum of a checkpoint without entries, or of none.
var noEpochs = crc32.Checksum(epoch.Encode(nil), castagnoli)

// tail finds the one epoch of a log that the checkpoint lacks; ok is false when
// the two differ in more than that. The log starts at start, and what begins
// above durable does not count.
func (f *filedEpochs) tail(now []epoch.Entry, start, durable int64) (tail epoch.Entry, has, ok bool) {
	if f.sum == 0 {
		return tail, false, false
	}
	listed := epoch.Between(f.entries, start, durable)
	now = epoch.Between(now, start, durable)
	if n := len(listed); len(now) == n+1 {
		tail, now, has = now[n], now[:n], true
		if k := len(f.entries); k > 0 && (f.entries[k-1].Epoch >= tail.Epoch || f.entries[k-1].Start >= tail.Start) {
			return tail, false, false
		}
		if durable-tail.Start >= math.MaxUint32 {
			return tail, false, false // the slot has no room for it
		}
	}
	return tail, has, slices.Equal(listed, now)
}

// epochsDueLocked says whether the checkpoint must be written before the log's
// durable point may rise to durable.
func (l *Log) epochsDueLocked(durable int64) bool {
	if !l.epochsDirty {
		return false
	}
	_, _, ok := l.filed.tail(l.epochs.Entries(), l.start.Load(), durable)
	return !ok
}

func (l *Log) epochsDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochsDueLocked(l.flushed.Load())
}

// pointLocked is the durable point of a log that is durable up to that offset.
// What proves the epochs is worked out together with it, so that no point vouches
// for a list of another moment.
func (l *Log) pointLocked(durable int64) point {
	pt := point{durable: durable, start: l.start.Load(), hw: l.hw.Load(), epochs: l.filed.sum}
	if l.epochsDirty {
		tail, has, ok := l.filed.tail(l.epochs.Entries(), pt.start, durable)
		if !ok {
			pt.epochs = 0
		} else if has {
			pt.newest, pt.back = tail.Epoch, uint32(durable-tail.Start)+1
		}
	}
	return pt
}

// proven is the list that the point vouches for, of a log whose checkpoint is f:
// that, with the epoch that the point names. The checkpoint may have been written
// since the point was, with epochs that begin above it.
func (pt point) proven(f filedEpochs) (list []epoch.Entry, ok bool) {
	if pt.epochs == 0 {
		return nil, false
	}
	for n := len(f.entries); n >= max(0, len(f.entries)-8); n-- {
		sum := f.sum
		if n < len(f.entries) {
			sum = crc32.Checksum(epoch.Encode(f.entries[:n]), castagnoli)
		}
		if sum != pt.epochs {
			continue
		}
		list, later := slices.Clone(f.entries[:n]), f.entries[n:]
		if pt.back > 0 {
			tail := epoch.Entry{Epoch: pt.newest, Start: pt.durable + 1 - int64(pt.back)}
			if len(later) > 0 && later[0] == tail {
				later = later[1:]
			}
			if n > 0 && (list[n-1].Epoch >= tail.Epoch || list[n-1].Start >= tail.Start) {
				return nil, false
			}
			list = append(list, tail)
		}
		if len(later) > 0 && later[0].Start < pt.durable {
			return nil, false
		}
		return list, true
	}
	return nil, false
}

// epochVotes are the epochs of a log's batches, collected in the order of
// offsets, and the checkpoint that they are compared with.
type epochVotes struct {
	listed []epoch.Entry // nil: there is none
	proven bool          // its checksum is right
	runs   []epochRun
	passed int // how many of listed begin below what was collected
}

// epochRun is a run of neighbours of one epoch. Where the checkpoint says that
// an epoch begins, a run ends.
type epochRun struct {
	epoch  int32
	start  int64 // base offset of the first
	number int
	bad    bool // outvoted
}

// runsMax bounds how many runs are compared with each other: a log of which the
// epoch changes oftener is believed as it is.
const runsMax = 4000

func (r *epochVotes) add(v batch.View) {
	begins := false
	for r.passed < len(r.listed) && r.listed[r.passed].Start <= v.BaseOffset() {
		r.passed++
		begins = true
	}
	e := v.LeaderEpoch()
	if n := len(r.runs); n > 0 && r.runs[n-1].epoch == e && !begins {
		r.runs[n-1].number++
		return
	}
	r.runs = append(r.runs, epochRun{epoch: e, start: v.BaseOffset(), number: 1})
}

// settle marks the runs that are outvoted and says whether there are any. A
// checkpoint that is proven knows of all epochs that begin below durable.
func (r *epochVotes) settle(durable int64) (outvoted bool) {
	runs := r.runs
	if len(runs) > runsMax {
		return false
	}
	at := epoch.New(r.listed)
	// best[i] is the most batches that can be kept of runs up to i, with i.
	best, from := make([]int, len(runs)), make([]int, len(runs))
	last := -1
	for i, x := range runs {
		from[i] = -1
		if want := at.At(x.start); x.epoch < -1 || r.proven && x.start < durable && want >= 0 && want != x.epoch {
			continue
		}
		best[i] = x.number
		for k := range i {
			if best[k] > 0 && runs[k].epoch <= x.epoch && best[k]+x.number > best[i] {
				best[i], from[i] = best[k]+x.number, k
			}
		}
		if last < 0 || best[i] >= best[last] {
			last = i
		}
	}
	for i := range runs {
		runs[i].bad = true
	}
	for i := last; i >= 0; i = from[i] {
		runs[i].bad = false
	}
	for _, x := range runs {
		outvoted = outvoted || x.bad
	}
	return outvoted
}

// entries are the epochs of the runs that count. One that does not belongs to
// the epoch before, or to the first.
func (r *epochVotes) entries() (es []epoch.Entry) {
	for _, x := range r.runs {
		if n := len(es); !x.bad && x.epoch >= 0 && (n == 0 || es[n-1].Epoch < x.epoch) {
			start := x.start
			if n == 0 && r.runs[0].bad {
				start = r.runs[0].start
			}
			es = append(es, epoch.Entry{Epoch: x.epoch, Start: start})
		}
	}
	return es
}

// doubt is segment.Config.Doubt.
func (l *Log) doubt(v batch.View) string {
	want := l.epochs.At(v.BaseOffset())
	if got := v.LeaderEpoch(); want >= 0 && got != want {
		return fmt.Sprintf("its leader epoch is %d, that of the log is %d here", got, want)
	}
	return ""
}

// readEpochs reads the checkpoint: bad is what is wrong with its bytes.
func (l *Log) readEpochs() (votes *epochVotes, bad, err error) {
	votes = &epochVotes{}
	file := filedEpochs{sum: noEpochs}
	b, err := vfs.ReadFile(l.dir.fs, filepath.Join(l.path, epochCheckpointName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, err
	default:
		if file.entries, bad = epoch.Parse(b); bad != nil {
			return votes, bad, nil
		}
		file.sum = crc32.Checksum(b, castagnoli)
	}
	l.mu.Lock()
	l.filed = file
	l.mu.Unlock()
	votes.listed = file.entries
	if pt, ok := l.dir.points.lookup(l.key()); ok {
		if list, ok := pt.proven(file); ok {
			votes.listed, votes.proven = list, true
		}
	}
	return votes, nil, nil
}

// loadEpochs reads the leader epochs of a log that was closed cleanly. A list
// that is not that of the batches is made anew from all headers.
func (l *Log) loadEpochs() error {
	votes, bad, err := l.readEpochs()
	if err != nil {
		return err
	}
	if bad == nil && !votes.proven {
		if bad, err = l.checkEpochs(votes.listed); err != nil {
			return err
		}
	}
	if bad != nil {
		return l.scanEpochs(bad)
	}
	l.takeEpochs(votes.listed)
	return nil
}

// takeEpochs puts a list into force.
func (l *Log) takeEpochs(entries []epoch.Entry) {
	l.epochs.Clear()
	for _, e := range entries {
		l.epochs.Assign(e.Epoch, e.Start)
	}
	l.epochs.TruncateEnd(l.end.Load() + 1)
	l.epochs.TruncateStart(l.start.Load())
	if !slices.Equal(l.epochs.Entries(), l.filed.entries) {
		l.epochsDirty = true
	}
}

// recoverEpochs takes in what recovery saw of the batches from offset from on;
// for those below, the checkpoint is compared with the log. bad is what is
// wrong with the checkpoint's bytes.
func (l *Log) recoverEpochs(seen *epochVotes, bad error, from int64) error {
	if bad != nil {
		return l.scanEpochs(bad)
	}
	outvoted := seen.settle(l.flushed.Load())
	l.takeEpochs(seen.listed)
	if seen.proven {
		from = max(from, l.flushed.Load())
	}
	if l.epochs.TruncateEnd(from) {
		l.epochsDirty = true
	}
	for _, e := range seen.entries() {
		if e.Epoch > l.epochs.Latest() {
			l.epochs.Assign(e.Epoch, e.Start)
			l.epochsDirty = true
		}
	}
	if outvoted {
		return l.nameOutvoted(seen)
	}
	if seen.proven {
		return nil
	}
	bad, err := l.checkEpochs(l.epochs.Entries())
	if err != nil || bad == nil {
		return err
	}
	return l.scanEpochs(bad)
}

// scanEpochs makes the list anew from all headers.
func (l *Log) scanEpochs(why error) error {
	votes := &epochVotes{}
	err := l.visit(l.start.Load(), l.end.Load(), func(v batch.View) error {
		votes.add(v)
		return nil
	})
	if err != nil {
		return err
	}
	outvoted := votes.settle(0)
	l.epochsDirty = true
	l.takeEpochs(votes.entries())
	if outvoted {
		return l.nameOutvoted(votes)
	}
	l.dir.cfg.Events.rebuilt(filepath.Join(l.path, epochCheckpointName), why.Error())
	return nil
}

// nameOutvoted lets the segments with batches whose epochs are wrong find them.
func (l *Log) nameOutvoted(votes *epochVotes) error {
	segs := *l.segs.Load()
	last := -1
	for _, r := range votes.runs {
		i := segmentFor(segs, r.start)
		if !r.bad || i == last {
			continue
		}
		last = i
		if err := segs[i].Rebuild("a leader epoch is not that of its neighbours"); err != nil {
			return err
		}
	}
	return nil
}

// checkEpochs compares each entry with the first batch at or above its start:
// bad is what does not fit.
func (l *Log) checkEpochs(entries []epoch.Entry) (bad, err error) {
	start, end := l.start.Load(), l.end.Load()
	for i, e := range entries {
		if e.Start >= end {
			continue
		}
		upTo := end
		if i+1 < len(entries) {
			upTo = min(end, entries[i+1].Start)
		}
		from := max(e.Start, start)
		if from >= upTo {
			continue
		}
		err := l.visit(from, upTo, func(v batch.View) error {
			if v.LeaderEpoch() != e.Epoch && v.BaseOffset() < upTo {
				bad = fmt.Errorf("epoch %d begins at %d, but offset %d has epoch %d", e.Epoch, e.Start, v.BaseOffset(), v.LeaderEpoch())
			}
			return segment.ErrStop
		})
		if err != nil || bad != nil {
			return bad, err
		}
	}
	if n := len(entries); n == 0 || entries[0].Start > start {
		upTo := end
		if n > 0 {
			upTo = min(end, entries[0].Start)
		}
		err = l.visit(start, upTo, func(v batch.View) error {
			if v.LeaderEpoch() >= 0 {
				bad = fmt.Errorf("offset %d has epoch %d, which is not listed", v.BaseOffset(), v.LeaderEpoch())
			}
			return segment.ErrStop
		})
	}
	return bad, err
}

// writeEpochs writes the leader epoch checkpoint when it changed; with sync it
// is durable on return. The list counts as dirty until the file holds it.
func (l *Log) writeEpochs(sync bool) error {
	l.dir.writingEpochs <- struct{}{}
	defer func() { <-l.dir.writingEpochs }()
	l.mu.Lock()
	dirty, loose := l.epochsDirty, l.epochsLoose
	entries := l.epochs.Entries()
	l.mu.Unlock()
	if !dirty && !(loose && sync) {
		return nil
	}
	var err error
	if dirty {
		err = l.writeWhole(epochCheckpointName, epoch.Encode(entries), sync)
	} else {
		err = l.dir.syncFile(filepath.Join(l.dirPath(), epochCheckpointName))
	}
	if err == nil && sync {
		err = l.dir.fs.SyncDir(l.dirPath())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochsLoose = err != nil || !sync
	switch {
	case err != nil:
		l.filed = filedEpochs{}
		l.epochsDirty = true
	case dirty:
		l.filed = filedEpochs{entries, crc32.Checksum(epoch.Encode(entries), castagnoli)}
		l.epochsDirty = !slices.Equal(entries, l.epochs.Entries())
	}
	return err
}
