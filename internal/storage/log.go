// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/storage/epoch"
	"gregor/internal/storage/producer"
	"gregor/internal/storage/segment"
	"gregor/internal/vfs"
)

// Log is one partition's log.
//
// Concurrency: mu is for offset assignment, the write and what changes
// segments; beneath it stand only locks of this room (docs/architecture/locks.md),
// and no sync happens. Readers take the segment list
// by pointer and the offsets by atomics. A log found after a clean stop is
// asleep: it knows its offsets from the catalogue and touches the disk at the
// first append or read (wake).
type Log struct {
	dir  *Dir
	name Name
	id   [16]byte
	slot int // in the durable-points file

	cfg    atomic.Pointer[LogConfig]
	segs   atomic.Pointer[[]*segment.Segment]
	awake  atomic.Bool
	closed atomic.Bool

	start, end, flushed, hw, unstable, size atomic.Int64
	// ended says that transactions wait for the high watermark.
	ended atomic.Bool
	// isNew: the log's directory may not be durable yet.
	isNew  atomic.Bool
	epochs *epoch.Cache

	opening chan struct{} // one at a time wakes the log; capacity 1
	// reshaping: one at a time takes segments out of the log; capacity 1, and
	// before mu. Syncs happen beneath it.
	reshaping chan struct{}

	mu        sync.Mutex
	path      string
	known     *known // what the catalogue says, until awake
	active    *segment.Segment
	handle    *segment.Handle // of the active segment, while it is busy
	idleSince time.Time       // when the keeper first found the log as it is
	idleAt    int64           // its end then
	producers *producer.Table
	jitter    time.Duration
	// dirty holds the segments written since the last commit, dirtyDir says
	// that files came or went. cuts counts truncations: a commit begun before
	// one proves nothing after it.
	dirty    []*segment.Segment
	dirtyDir bool
	cuts     uint64
	cutTo    int64 // the lowest of them since the log was opened
	removed  bool  // deleted, or a move given up: it has no durable point any more
	// truncating holds commits off between the lowering of the marks and the
	// truncation itself, which marks the log dirty in the end.
	truncating bool
	// sealedUpTo: the indexes and snapshots of segments below are on disk, so
	// the recovery point may go there.
	sealedUpTo int64
	// uncommitted counts the bytes since the last commit took the log, small
	// the commits in a row that found few of them, brief the small appends in a
	// row; see aheadLocked.
	uncommitted   int64
	small         int
	brief         int
	unflushed     int64 // messages since the last flush, for flush.messages
	unflushedFrom time.Time
	recovery      Recovery
	// The leader epoch checkpoint: the list is to be written; the file was
	// written and is not durable yet. filed is what the file holds.
	epochsDirty, epochsLoose bool
	filed                    filedEpochs

	toldMu sync.Mutex // a leaf
	told   map[damagedPlace]bool

	queued bool // in the committer's queue; guarded by dir.commitMu
}

func (d *Dir) newLog(n Name, id [16]byte, c LogConfig) *Log {
	l := &Log{dir: d, name: n, id: id, slot: -1, opening: make(chan struct{}, 1), reshaping: make(chan struct{}, 1),
		path: filepath.Join(d.path, n.String()), epochs: &epoch.Cache{}, producers: producer.NewTable()}
	l.unstable.Store(-1)
	c = c.withDefaults()
	l.cfg.Store(&c)
	l.segs.Store(&[]*segment.Segment{})
	if c.Reserve {
		l.small = smallInARow // the metadata log is known to take little at a time
	}
	return l
}

// Name, TopicID, Dir and Config tell what the log was opened with.
func (l *Log) Name() Name { return l.name }

// TopicID is the id of the log's topic.
func (l *Log) TopicID() [16]byte { return l.id }

// Dir is the directory that holds the log.
func (l *Log) Dir() *Dir { return l.dir }

// Config is the configuration in force.
func (l *Log) Config() LogConfig { return *l.cfg.Load() }

// Start is the log start offset, End the next offset, Flushed the end of what
// is durable. None waits for a lock.
func (l *Log) Start() int64 { return l.start.Load() }

// End is the offset that the next record gets.
func (l *Log) End() int64 { return l.end.Load() }

// Flushed is the end of what is durable.
func (l *Log) Flushed() int64 { return l.flushed.Load() }

// Size is the number of bytes in the log's segments.
func (l *Log) Size() int64 { return l.size.Load() }

// SegmentCount is the number of segments, 0 while the log is asleep.
func (l *Log) SegmentCount() int { return len(*l.segs.Load()) }

// HighWatermark is the last value of SetHighWatermark, or what the last stop
// left.
func (l *Log) HighWatermark() int64 { return l.hw.Load() }

// SetHighWatermark tells the log its high watermark: kept for retention,
// compaction, the transaction rules and the checkpoint. It never moves the
// watermark above the end.
func (l *Log) SetHighWatermark(hw int64) {
	hw = min(hw, l.end.Load())
	l.hw.Store(hw)
	if l.ended.Load() {
		l.mu.Lock()
		l.producers.Committed(hw)
		l.noteUnstableLocked()
		l.mu.Unlock()
	}
}

func (l *Log) noteUnstableLocked() {
	l.unstable.Store(l.producers.FirstUnstable())
	l.ended.Store(l.producers.HasEnded())
}

// StableBound is the first offset of a transaction that is open, or ended
// above the high watermark; -1 when there is none. LSO = min(HW, StableBound).
func (l *Log) StableBound() int64 { return l.unstable.Load() }

// Recovery tells what opening the log found after an unclean stop (zero if
// the stop was clean).
func (l *Log) Recovery() Recovery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recovery
}

// Configure changes the configuration; it holds from the next append on.
func (l *Log) Configure(c LogConfig) {
	c = c.withDefaults()
	old := l.cfg.Swap(&c)
	if c.Durable && !old.Durable {
		_ = l.Flush(false)
	}
	if c.SegmentJitter != old.SegmentJitter {
		l.mu.Lock()
		l.drawJitterLocked()
		l.mu.Unlock()
	}
}

func (l *Log) drawJitterLocked() {
	l.jitter = 0
	if j := l.cfg.Load().SegmentJitter; j > 0 {
		l.jitter = time.Duration(rand.Int64N(int64(j)))
	}
}

// usable says why nothing can be done with the log, if so.
func (l *Log) usable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.dir.Err()
}

// wake opens what the first touch needs. It is cheap when awake.
func (l *Log) wake() error {
	if l.awake.Load() {
		return nil
	}
	if err := l.usable(); err != nil {
		return err
	}
	l.opening <- struct{}{}
	defer func() { <-l.opening }()
	if l.awake.Load() {
		return nil
	}
	if err := l.load(); err != nil {
		return fmt.Errorf("open log %s: %w", l.name, l.ioError(err))
	}
	l.awake.Store(true)
	return nil
}

// ioError turns an error of the file system into one of ours; what is not
// about room takes the directory offline.
func (l *Log) ioError(err error) error {
	var path *fs.PathError
	switch {
	case err == nil:
		return nil
	case vfs.IsNoSpace(err):
		l.dir.full(true)
		return fmt.Errorf("%s: %w (%w)", l.name, ErrNoSpace, err)
	case errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist):
		l.dir.fail(fmt.Errorf("log %s: %w", l.name, err))
		return l.dir.Err()
	}
	return err
}

// Promised tells whether the directory's durable points know of records of the
// log that must be on the disk. Of a log that was made anew: it is not the first.
func (l *Log) Promised() bool {
	pt, known := l.dir.points.lookup(l.key())
	return known && pt.durable > 0
}

// AssignEpoch notes that a leader of this epoch writes from start on.
func (l *Log) AssignEpoch(e int32, start int64) error {
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epochs.Assign(e, start) {
		l.epochsDirty = true
	}
	return nil
}

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch at or below the one
// asked for and where it ends; (-1, -1) when nothing is known.
func (l *Log) EpochEnd(e int32) (int32, int64) { return l.epochs.End(e, l.end.Load()) }

// EpochAt is the epoch that wrote offset, or -1.
func (l *Log) EpochAt(offset int64) int32 { return l.epochs.At(offset) }

// LatestEpoch is the last known leader epoch, or -1.
func (l *Log) LatestEpoch() int32 { return l.epochs.Latest() }

// Producers lists the producers that the log remembers.
func (l *Log) Producers() ([]ProducerState, error) {
	if err := l.wake(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.States(), nil
}

// BeginTxn takes the guard for the first batch, with sequence first, of a
// producer's transaction in this log; see Append.Guard. It is 0 when the
// transaction is open already. Version 2 transactions start at sequence 0.
func (l *Log) BeginTxn(producerID int64, epoch int16, first int32, version2 bool) (uint64, error) {
	if err := l.wake(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.Begin(producerID, epoch, first, version2, l.dir.cfg.Now().UnixMilli())
}

// Flush makes everything appended so far durable; with wait it returns when
// that is so, else it only asks for it.
func (l *Log) Flush(wait bool) error {
	if err := l.usable(); err != nil {
		return err
	}
	if !l.awake.Load() || l.flushed.Load() >= l.end.Load() {
		return nil
	}
	if !wait {
		l.dir.markDirty(l)
		return nil
	}
	for target := l.end.Load(); l.flushed.Load() < min(target, l.end.Load()); {
		done := l.dir.commitDone()
		l.dir.markDirty(l)
		<-done
		if err := l.usable(); err != nil {
			return err
		}
	}
	return nil
}
