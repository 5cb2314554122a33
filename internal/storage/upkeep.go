// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"gregor/internal/storage/segment"
)

// retainAll applies retention to every log. Logs that sleep are woken only
// when something of theirs may go.
func (d *Dir) retainAll(now time.Time) {
	for _, l := range d.openLogs() {
		if d.Err() != nil {
			return
		}
		if !l.awake.Load() && !l.mayExpire(now) {
			continue
		}
		// A full disk or a closed log is told to who appends; the next round
		// tries again.
		_, _ = l.Retain(now)
	}
}

// mayExpire looks at what the catalogue says of a sleeping log.
func (l *Log) mayExpire(now time.Time) bool {
	cfg := l.cfg.Load()
	k := l.catalogued()
	if k == nil {
		return true
	}
	s := k.segs[0]
	if len(k.segs) > 1 && k.start >= k.segs[1].Base {
		return true
	}
	if !cfg.Delete || s.Size == 0 {
		return false
	}
	old := cfg.Retention >= 0 && now.UnixMilli()-s.MaxTimestamp > cfg.Retention.Milliseconds()
	return old || cfg.RetentionBytes > 0 && k.size()-s.Size >= cfg.RetentionBytes
}

func (l *Log) catalogued() *known {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known
}

// The scrubber reads cold data again, at most scrubRate bytes a second, so
// that damage is found while there is still a way to mend it. It goes round:
// all logs by name, each one's sealed segments by base. What logs there are is
// asked once a round. A segment costs scrubOpen beside what is read of it: many
// small ones would keep a processor busy with opening files else.
const (
	scrubEvery = time.Second
	scrubOpen  = 32 << 10
)

// scrubAt is where the scrubber goes on.
type scrubAt struct {
	round []Name // nil: a new round begins
	log   int    // index into round
	base  int64  // of the segment, -1: the log's first
	pos   int64  // in it, -1: done
}

// SetScrubRate changes how many bytes a second are read again; 0: none.
func (d *Dir) SetScrubRate(bytesPerSecond int64) {
	d.scrubRate.Store(bytesPerSecond)
	d.keeper.poke()
}

// ScrubRate is the rate in force.
func (d *Dir) ScrubRate() int64 { return d.scrubRate.Load() }

func (d *Dir) scrubSome() {
	budget := d.scrubRate.Load()
	for rounds := 0; budget > 0 && rounds < 2 && d.Err() == nil; {
		l, s := d.nextToScrub()
		if l == nil {
			rounds++
			continue
		}
		n, done := d.scrubSegment(l, s, budget)
		budget -= n
		if done {
			d.keeper.scrub.pos = -1
		}
		s.Release()
	}
}

// nextToScrub finds the segment to go on with, holding it; nil after the last.
func (d *Dir) nextToScrub() (*Log, *segment.Segment) {
	at := &d.keeper.scrub
	if at.round == nil {
		*at = scrubAt{round: d.Logs(), base: -1}
	}
	for ; at.log < len(at.round); at.log, at.base = at.log+1, -1 {
		d.mu.Lock()
		l := d.logs[at.round[at.log]]
		d.mu.Unlock()
		if l == nil || l.closed.Load() {
			continue
		}
		for _, s := range l.coldSegments() {
			same := s.Base() == at.base
			if s.Base() < at.base || same && at.pos < 0 || !s.Acquire() {
				continue
			}
			if !same {
				at.base, at.pos = s.Base(), 0
			}
			return l, s
		}
	}
	at.round = nil
	return nil, nil
}

// coldSegments are those that take no appends.
func (l *Log) coldSegments() []*segment.Segment {
	if k := l.catalogued(); k != nil {
		cfg := l.dir.segmentConfig(l, l.cfg.Load())
		segs := make([]*segment.Segment, len(k.segs))
		for i, s := range k.segs {
			segs[i] = segment.Open(cfg, l.path, s)
		}
		return segs
	}
	segs := *l.segs.Load()
	return segs[:max(len(segs)-1, 0)]
}

// scrubSegment checks up to budget bytes of a segment and says how many they
// count for and whether it came to the end.
func (d *Dir) scrubSegment(l *Log, s *segment.Segment, budget int64) (n int64, done bool) {
	from := d.keeper.scrub.pos
	pos, err := s.Scrub(from, budget)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			_ = l.ioError(err)
		}
		return scrubOpen, true
	}
	d.keeper.scrub.pos = pos
	size, _ := s.Tail()
	n = max(pos-from, 1)
	if from == 0 {
		n += scrubOpen
	}
	return n, pos >= size
}

// The reserve is a file whose blocks are given up when the disk is full, so
// that logs with LogConfig.Reserve (the cluster's metadata) can still be
// written: a broker that cannot note anything cannot even be told to delete.

func (d *Dir) keepReserve() {
	if d.cfg.ReserveBytes <= 0 {
		return
	}
	path := filepath.Join(d.path, reserveName)
	f, err := d.fs.OpenRW(path)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = d.fs.Create(path)
	}
	if err != nil {
		return // no room for a reserve either; tried again later
	}
	defer func() { _ = f.Close() }()
	n, err := f.Size()
	if err != nil || n >= d.cfg.ReserveBytes {
		d.reserved.Store(err == nil)
		return
	}
	if u, err := d.fs.Usage(d.path); err != nil || u.Free < 2*d.cfg.ReserveBytes {
		return
	}
	if err = f.Preallocate(0, d.cfg.ReserveBytes); err == nil {
		err = f.Truncate(d.cfg.ReserveBytes)
	}
	d.reserved.Store(err == nil)
}

// releaseReserve gives the reserve up and says whether there was one.
func (d *Dir) releaseReserve() bool {
	if !d.reserved.Swap(false) {
		return false
	}
	d.full(true)
	f, err := d.fs.OpenRW(filepath.Join(d.path, reserveName))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return f.Truncate(0) == nil
}
