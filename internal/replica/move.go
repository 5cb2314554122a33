// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// Moving a replica to another of this broker's directories (KIP-113), while it
// is written and read:
//
//	Move ─► OpenFuture ─► copy, throttled ─► caught up ─► swap ─► delete the old log
//	            ▲               │                │ more was appended
//	            │               ▼                ▼
//	         restart     Move back, damage: the future log is dropped
//
// The swap holds Partition.turn, so nobody appends: it copies what came last,
// flushes, lets the future log take the name (storage.Log.Promote says how that
// survives a crash) and publishes it. Who was about to read the old log then
// finds it closed, and takes the new one. No record is compacted away meanwhile:
// the copy may hold a record whose tombstone it would not meet any more.
//
// A restart goes on where the copy ends. What the log lost in between, the copy
// loses too: leader epochs are compared before each step, as a follower does.

const (
	moveChunk = 1 << 20 // bytes read at a time
	// moveTurn is how much of a move is copied before others have a turn.
	moveTurn = 16 << 20
	// moveRetry is how long a move waits for room on a full disk.
	moveRetry = time.Second
	// preferencesMax bounds the directories kept for partitions that may come.
	preferencesMax = 10_000
)

// MoveEvents tell of moves. They are called on the goroutines of requests and
// of moves, and may wait for a cleaning to end. Any may be nil.
type MoveEvents struct {
	// Begins: from now on nothing may be compacted away in l.
	Begins func(l *storage.Log)
	// Ended: the log moved from l to to; or to is nil, and why it did not is
	// err, which is nil when it was asked to stop.
	Ended func(l, to *storage.Log, err error)
	// Superseded: of two logs of one name the one in dir was the older, and is
	// deleted.
	Superseded func(dir string, n storage.Name)
	// Threads is how many logs are copied at a time; nil or 0: one for each
	// directory.
	Threads func() int
	// BytesPerSecond is the throttle of all moves together; nil, 0 and
	// negative: none.
	BytesPerSecond func() int64
}

// movers are the moves under way and the goroutines that make them, which are
// there only while there is something to move.
type movers struct {
	table *Table
	pace  throttle
	// changing: one at a time begins and stops moves; capacity 1, for it is
	// held while files are made and renamed.
	changing chan struct{}

	mu      sync.Mutex // a leaf; guards what follows
	of      map[*Partition]*move
	queue   []*move
	running int
	closed  bool
	work    sync.WaitGroup
	// prefer is where partitions that are not hosted yet are to be made.
	prefer map[storage.Name]*storage.Dir
}

// move is one log's. A worker owns it from the queue until it puts it back or
// closes done.
type move struct {
	p      *Partition
	from   *storage.Log
	future *storage.Log
	ctx    context.Context // the life of the move, not of a call
	cancel context.CancelFunc
	done   chan struct{}
	moved  bool // written before done is closed
}

func newMovers(t *Table) *movers {
	return &movers{table: t, changing: make(chan struct{}, 1), of: map[*Partition]*move{}, prefer: map[storage.Name]*storage.Dir{}}
}

// Future is the log that is to replace the partition's in another directory;
// nil when it does not move.
func (p *Partition) Future() *storage.Log { return p.future.Load() }

// Move begins to move the partition's log to a directory of the table. To the
// one where it is: a move under way is given up. It returns when the move has
// begun. Errors are Kafka's.
func (t *Table) Move(p *Partition, to *storage.Dir) error {
	m := t.movers
	m.changing <- struct{}{}
	defer func() { <-m.changing }()
	if v := m.get(p); v != nil && v.future.Dir() != to {
		m.giveUp(v)
	}
	log := p.log.Load()
	switch {
	case to.Err() != nil, log == nil, p.role.Load().refusal == kerr.KafkaStorageError:
		return kerr.KafkaStorageError
	case log.Dir() == to, m.get(p) != nil:
		return nil
	}
	for _, d := range t.dirs {
		if d.Err() != nil {
			// There may be a future log in it already.
			return &Error{kerr.KafkaStorageError, fmt.Errorf("no log moves while %s is offline: %w", d.Path(), d.Err())}
		}
	}
	return m.begin(p, log, to)
}

// Prefer notes where the log of a partition that is not hosted yet is to be.
func (t *Table) Prefer(n storage.Name, d *storage.Dir) {
	m := t.movers
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.prefer) < preferencesMax {
		m.prefer[n] = d
	}
}

func (m *movers) preferred(n storage.Name) *storage.Dir {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.prefer[n]
	delete(m.prefer, n)
	return d
}

// ResumeMoves goes on with the moves that the last stop interrupted. It is
// called once, when partitions are there and before anything is compacted.
func (t *Table) ResumeMoves() {
	for _, d := range t.dirs {
		for _, n := range d.Futures() {
			p := t.Named(n.Topic, n.Partition)
			switch {
			case p == nil:
				if t.config.Stray != nil {
					t.config.Stray(d.Path(), n)
				}
				continue
			case p.log.Load() == nil:
				continue
			case p.config.Load().Log.Compact:
				// Since the move stopped the log may have been compacted.
				if err := d.DropFuture(n); err != nil {
					continue // the directory has failed, which its event told
				}
			}
			if err := t.Move(p, d); err != nil {
				t.moveEnded(p.log.Load(), nil, err)
			}
		}
	}
}

func (t *Table) moveEnded(l, to *storage.Log, err error) {
	if t.config.Moves.Ended != nil {
		t.config.Moves.Ended(l, to, err)
	}
}

func (m *movers) get(p *Partition) *move {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.of[p]
}

// begin opens the future log and puts the move into the queue; the caller
// holds changing.
func (m *movers) begin(p *Partition, log *storage.Log, to *storage.Dir) error {
	if m.table.config.Moves.Begins != nil {
		m.table.config.Moves.Begins(log)
	}
	c := futureConfig(p.config.Load())
	future, err := to.OpenFuture(log.Name(), p.id, c)
	if errors.Is(err, storage.ErrWrongTopicID) { // of a topic of old
		if err = to.DropFuture(log.Name()); err == nil {
			future, err = to.OpenFuture(log.Name(), p.id, c)
		}
	}
	if err != nil {
		m.table.moveEnded(log, nil, err)
		return translate(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &move{p: p, from: log, future: future, ctx: ctx, cancel: cancel, done: make(chan struct{})}
	p.future.Store(future)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of[p] = v
	m.queueLocked(v)
	return nil
}

// futureConfig: a future log drops nothing on its own account.
func futureConfig(c *TopicConfig) storage.LogConfig {
	l := c.Log
	l.Create, l.Delete, l.Compact, l.Durable = true, false, false, false
	return l
}

// queueLocked puts a move at the end of the queue and sees that somebody works
// it off.
func (m *movers) queueLocked(v *move) {
	m.queue = append(m.queue, v)
	threads := 0
	if f := m.table.config.Moves.Threads; f != nil {
		threads = f()
	}
	if threads <= 0 {
		threads = len(m.table.dirs)
	}
	if m.running < threads && !m.closed {
		m.running++
		m.work.Go(m.worker)
	}
}

// worker is the goroutine; it ends with the queue, or at close.
func (m *movers) worker() {
	buf := make([]byte, moveChunk)
	for {
		m.mu.Lock()
		if len(m.queue) == 0 || m.closed {
			m.running--
			m.mu.Unlock()
			return
		}
		v := m.queue[0]
		m.queue = slices.Delete(m.queue, 0, 1)
		m.mu.Unlock()

		more, err := m.some(v, &buf)
		switch {
		case v.ctx.Err() != nil && !v.moved:
			close(v.done) // who gave it up does the rest
		case more && err == nil:
			m.mu.Lock()
			if m.closed {
				close(v.done)
			} else {
				m.queueLocked(v)
			}
			m.mu.Unlock()
		default:
			m.end(v, err)
		}
	}
}

// some copies a turn's worth and, when that was all, swaps the logs.
func (m *movers) some(v *move, buf *[]byte) (more bool, err error) {
	for copied := 0; copied < moveTurn; {
		n, err := v.copy(buf)
		switch {
		case errors.Is(err, storage.ErrNoSpace):
			return true, sleep(v.ctx, moveRetry)
		case err != nil:
			return false, err
		case n == 0:
			return m.tryswap(v, buf)
		}
		copied += n
		if err := m.pace.take(v.ctx, n, m.table.config.Moves.BytesPerSecond); err != nil {
			return false, err
		}
	}
	return true, nil
}

// tryswap flushes what is there before it keeps producers waiting for the rest.
func (m *movers) tryswap(v *move, buf *[]byte) (more bool, err error) {
	if err := v.future.Flush(true); err != nil {
		return false, err
	}
	err = m.swap(v, buf)
	if errors.Is(err, storage.ErrNoSpace) {
		return true, sleep(v.ctx, moveRetry)
	}
	return false, err
}

// swap puts the future log into the place of the partition's.
func (m *movers) swap(v *move, buf *[]byte) error {
	p, t := v.p, m.table
	p.uncut()
	defer p.turn.Unlock()
	for n := 1; n > 0; {
		var err error
		if n, err = v.copy(buf); err != nil {
			return err
		}
	}
	if err := v.future.Flush(true); err != nil {
		return err
	}
	p.mu.Lock()
	gone := p.closed || p.offline
	p.mu.Unlock()
	if gone {
		return storage.ErrClosed
	}
	if err := v.future.Promote(v.from); err != nil {
		return err
	}
	t.mu.Lock()
	delete(t.byLog, v.from)
	t.byLog[v.future] = p
	t.mu.Unlock()
	p.log.Store(v.future)
	p.future.Store(nil)
	v.future.Configure(p.config.Load().Log) // after Store: a change goes to the one or the other
	v.moved = true
	p.mu.Lock()
	defer p.mu.Unlock()
	v.future.SetHighWatermark(p.hw.Load())
	p.end = v.future.End()
	switch {
	case p.leader != nil:
		p.settle(p.leader.Wrote(p.end, v.future.Flushed(), p.now()))
	case p.follower != nil:
		p.flushedFollower()
	}
	return nil
}

// end finishes a move that was not given up. Its partition may begin another
// one as soon as it is no longer listed.
func (m *movers) end(v *move, err error) {
	defer close(v.done)
	defer v.cancel()
	var to *storage.Log
	n, old := v.from.Name(), v.from.Dir()
	if v.moved {
		to = v.future
		if derr := old.Delete(n); derr != nil && !errors.Is(derr, storage.ErrDirFailed) {
			err = fmt.Errorf("delete %s after its move: %w", n, derr)
		}
	} else {
		v.p.future.Store(nil)
		_ = v.future.Dir().DropFuture(n) // a failed directory told of itself
	}
	m.mu.Lock()
	delete(m.of, v.p)
	m.mu.Unlock()
	m.table.moveEnded(v.from, to, err)
}

// stop ends the worker's part of a move; the caller holds changing. It says
// whether the move is still to be undone.
func (m *movers) stop(v *move) bool {
	v.cancel()
	m.mu.Lock()
	if i := slices.Index(m.queue, v); i >= 0 {
		m.queue = slices.Delete(m.queue, i, i+1)
		close(v.done)
	}
	m.mu.Unlock()
	<-v.done
	m.mu.Lock()
	defer m.mu.Unlock()
	_, listed := m.of[v.p]
	delete(m.of, v.p)
	return listed && !v.moved
}

// giveUp stops a move and removes what was copied.
func (m *movers) giveUp(v *move) {
	if !m.stop(v) {
		return
	}
	v.p.future.Store(nil)
	_ = v.future.Dir().DropFuture(v.from.Name()) // as in end
	m.table.moveEnded(v.from, nil, nil)
}

// leave gives up the move of a partition that goes, if it moves.
func (m *movers) leave(p *Partition) {
	m.changing <- struct{}{}
	defer func() { <-m.changing }()
	if v := m.get(p); v != nil {
		m.giveUp(v)
	}
}

// close stops all moves; the future logs stay for the next start.
func (m *movers) close() {
	m.changing <- struct{}{}
	defer func() { <-m.changing }()
	m.mu.Lock()
	m.closed = true
	for _, v := range m.of {
		v.cancel()
	}
	m.mu.Unlock()
	m.work.Wait()
}

// copy appends the next records of the partition's log to the future one and
// returns how many bytes; 0 at the end.
func (v *move) copy(buf *[]byte) (int, error) {
	if err := v.ctx.Err(); err != nil {
		return 0, err
	}
	if err := v.align(); err != nil {
		return 0, err
	}
	s, err := v.from.Read(max(v.future.End(), v.from.Start()), math.MaxInt64, moveChunk, true)
	if err != nil || s.N == 0 {
		return 0, err
	}
	defer s.Release()
	b := s.Bytes
	if b == nil {
		if len(*buf) < s.N {
			*buf = make([]byte, s.N)
		}
		b = (*buf)[:s.N]
		if n, err := s.File.ReadAt(b, s.Off); n < len(b) {
			return 0, fmt.Errorf("read %s at %d: %w", s.Path, s.Off, err)
		}
	}
	return len(b), v.append(b, s.Path)
}

// append writes batches that were read from path, as many at a time as a
// segment holds.
func (v *move) append(b []byte, path string) error {
	most := v.future.Config().SegmentBytes
	var group []batch.View
	var bytes int64
	write := func() error {
		if len(group) == 0 {
			return nil
		}
		_, err := v.future.AppendAll(group, storage.Append{Origin: storage.Replication})
		group, bytes = group[:0], 0
		return err
	}
	for len(b) > 0 {
		x, rest, err := batch.Next(b)
		if err == nil {
			err = x.CheckCRC()
		}
		if err != nil {
			return fmt.Errorf("batch at offset %d of %s: %w", v.future.End(), path, err)
		}
		if n := int64(len(x)); n > most { // segment.bytes was made smaller since
			c := v.future.Config()
			c.SegmentBytes = n
			v.future.Configure(c)
			most = n
		}
		if bytes+int64(len(x)) > most {
			if err := write(); err != nil {
				return err
			}
		}
		group, bytes, b = append(group, x), bytes+int64(len(x)), rest
	}
	return write()
}

// align makes the future log a prefix of the partition's again: that may have
// been cut, or have lost its beginning, since the last step.
func (v *move) align() error {
	log, f := v.from, v.future
	for f.End() > f.Start() || f.End() > 0 {
		last := f.LatestEpoch()
		if last < 0 {
			break
		}
		epoch, end := log.EpochEnd(last)
		if epoch == last && end >= f.End() {
			break
		}
		if epoch < 0 {
			end = 0
		} else if epoch < last {
			_, own := f.EpochEnd(epoch)
			end = min(end, own)
		}
		if end >= f.End() {
			break
		}
		if err := f.TruncateTo(end); err != nil {
			return err
		}
	}
	start := log.Start()
	if f.End() < start || f.End() > log.End() {
		// The first batch may begin below the log start.
		s, err := log.Read(start, math.MaxInt64, 1, true)
		if err != nil {
			return err
		}
		if s.Release != nil {
			defer s.Release()
		}
		if s.N > 0 {
			start = min(start, s.First)
		}
		return f.TruncateFully(start)
	}
	if start > f.Start() && start <= f.End() {
		return f.IncrementStart(start)
	}
	return nil
}

// throttle lets bytes pass at a rate that may change while somebody waits.
type throttle struct {
	mu   sync.Mutex // a leaf
	debt float64    // bytes that have passed and are not paid for
	at   time.Time  // when the debt was that
}

// take notes n bytes and waits until all that has passed is paid for.
func (t *throttle) take(ctx context.Context, n int, rate func() int64) error {
	for {
		r := int64(0)
		if rate != nil {
			r = rate()
		}
		t.mu.Lock()
		now := time.Now()
		t.debt = max(t.debt-float64(max(r, 0))*now.Sub(t.at).Seconds(), 0)
		t.at = now
		t.debt += float64(n)
		n = 0
		if r <= 0 {
			t.debt = 0
		}
		debt := t.debt
		t.mu.Unlock()
		if debt == 0 {
			return ctx.Err()
		}
		wait := min(time.Duration(debt/float64(r)*float64(time.Second)), time.Second)
		if err := sleep(ctx, max(wait, time.Microsecond)); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
