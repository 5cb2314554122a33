// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"

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
//	the checkpoint          if its checksum is the one that the durable points
//	                        hold; for batches below the durable point
//	the batches             else: epochs do not fall, and the largest set of
//	                        batches that agree on an order counts
//
// A batch that does not fit is damaged: it is named and not served. The first
// commit after an election makes the checkpoint durable together with the first
// batch of the epoch, so that a new epoch is not taken for a flipped bit.

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
	b, err := vfs.ReadFile(l.dir.fs, filepath.Join(l.path, epochCheckpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return &epochVotes{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	votes = &epochVotes{}
	if votes.listed, bad = epoch.Parse(b); bad == nil {
		sum := crc32.Checksum(b, castagnoli)
		pt, ok := l.dir.points.lookup(l.key())
		votes.proven = ok && pt.epochs == sum
		l.epochSum.Store(sum)
	}
	return votes, bad, nil
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
	if l.epochs.TruncateEnd(l.end.Load()+1) || l.epochs.TruncateStart(l.start.Load()) {
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
