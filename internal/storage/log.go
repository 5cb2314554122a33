// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"gregor/internal/batch"
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
	l.end.Store(r.Last + 1)
	l.size.Add(total)
	if u != nil {
		l.producers.Apply(u, func(c producer.Completed, stable int64) {
			if c.Aborted {
				l.active.AddAborted(AbortedTxn{ProducerID: c.ProducerID, FirstOffset: c.First, LastOffset: c.Last, StableOffset: stable})
			}
		})
		l.noteUnstableLocked()
	}
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
