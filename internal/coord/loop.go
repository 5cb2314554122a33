// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
)

const (
	// mailboxSize bounds the calls that wait for a partition's loop. A caller
	// beyond it waits in Write, which is its connection's reader: back pressure.
	mailboxSize = 1024

	// reload is the pause after a load that failed, twice as long after each
	// more, up to reloadMost: damage does not heal by itself, but a disk may.
	// reloadNotLed is that after one for which the log and the metadata did not
	// agree about the leader.
	reload       = time.Second
	reloadMost   = time.Minute
	reloadNotLed = 50 * time.Millisecond

	// divideAt keeps batches of divisible records small, so that an expiry of
	// a million offsets does not hold the loop or the log for long.
	divideAt = 1000

	// keepBatch bounds the memory that an idle loop holds for its next batch.
	keepBatch = 64 << 10
)

type phase int32

const (
	loading phase = iota // calls get COORDINATOR_LOAD_IN_PROGRESS
	active
	failed // the load failed and will be tried again: NOT_COORDINATOR, as in Kafka
	gone   // resigned, or the log is not led here: NOT_COORDINATOR
)

// loop is one owned partition. All fields below the line belong to its
// goroutine, which run is; Runtime closes stop once, run closes done.
type loop[S Shard] struct {
	cfg       *Config[S]
	partition int32
	epoch     int32
	log       Log

	phase atomic.Int32
	mail  chan mail[S] // capacity mailboxSize, never closed
	stop  chan struct{}
	done  chan struct{}

	postMu sync.Mutex // guards posts; a leaf
	posts  []func(S, time.Time) Result
	posted chan struct{} // capacity 1: posts is not empty

	// ---
	shard     S
	calls     map[Ticket]call
	ticket    Ticket // the last one given out
	waits     []wait // in the order of their ends and of their deadlines
	written   int64  // log end
	committed int64  // what the shard was told
	loaded    int64  // log end at the load
	effects   []due  // in the order of their ends

	await     <-chan struct{} // nil when nothing is awaited
	awaitEnd  int64
	stopAwait func()

	timer   *time.Timer
	timerAt time.Time // when timer fires; zero when it is not set
	batch   batch.Builder
}

// mail is a call in the mailbox: a write or a read.
type mail[S Shard] struct {
	write func(S, time.Time, Ticket) Result
	read  func(S)
	call  call
}

// call is where a caller waits; capacity 1, sent to once.
type call chan outcome

type outcome struct {
	reply any
	err   error
}

// wait is something to be done when the log is committed up to end.
type wait struct {
	end      int64
	deadline time.Time
	to       Ticket
	reply    any
	settled  func(time.Time, bool, error) Result
}

// due are effects to be carried out when the log is committed up to end.
type due struct {
	end     int64
	effects []Effect
}

func newLoop[S Shard](cfg *Config[S], partition, epoch int32, log Log) *loop[S] {
	return &loop[S]{
		cfg: cfg, partition: partition, epoch: epoch, log: log,
		mail:   make(chan mail[S], mailboxSize),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		posted: make(chan struct{}, 1),
		calls:  map[Ticket]call{},
		batch:  *batch.NewBuilder(cfg.Codec),
	}
}

// send puts m in the mailbox. Mail that arrives as the loop ends is answered by
// it: see drain.
func (l *loop[S]) send(ctx context.Context, m mail[S]) error {
	select {
	case l.mail <- m:
	case <-l.done:
		return kerr.NotCoordinator
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-l.done: // perhaps nobody will look into the mailbox again
		l.drain()
	default:
	}
	return nil
}

func (l *loop[S]) post(op func(S, time.Time) Result) {
	l.postMu.Lock()
	l.posts = append(l.posts, op)
	l.postMu.Unlock()
	select {
	case l.posted <- struct{}{}:
	default:
	}
}

// run is the loop's goroutine: load, serve until stopped or lost, unload.
func (l *loop[S]) run() {
	defer l.unload()
	for next := reload; ; {
		err := l.load()
		if err == nil {
			break
		}
		pause := next
		if notLed(err) {
			// The log is ahead of the metadata, or behind: an election will come,
			// or the log will follow.
			l.phase.Store(int32(gone))
			pause = reloadNotLed
		} else {
			l.phase.Store(int32(failed))
			next = min(2*next, reloadMost)
			if f := l.cfg.Events.LoadFailed; f != nil {
				f(l.partition, err)
			}
		}
		select {
		case <-l.stop:
			return
		case <-time.After(pause):
			l.phase.Store(int32(loading))
		}
	}
	select {
	case <-l.stop:
		return
	default:
	}
	l.timer = time.NewTimer(time.Hour)
	l.timerAt = time.Time{}
	defer l.timer.Stop()
	now := l.cfg.Now()
	l.carry(0, l.shard.Loaded(now), now)
	l.phase.Store(int32(active))
	for {
		l.arm()
		select {
		case <-l.stop:
			return
		case m := <-l.mail:
			l.serve(m)
		case <-l.posted:
			l.servePosts()
		case <-l.await:
			l.await = nil
			l.settle()
			if l.committed < l.awaitEnd {
				// No longer led here. The metadata will say so too; until then
				// there is nothing that this shard could still promise.
				l.phase.Store(int32(gone))
				l.failAll(kerr.NotCoordinator)
				l.refuse()
				return
			}
		case <-l.timer.C:
			l.timerAt = time.Time{}
		}
		l.fire()
	}
}

// notLed says that the log is not, or not yet, led here in the epoch of the
// election.
func notLed(err error) bool {
	return errors.Is(err, kerr.NotLeaderForPartition) || errors.Is(err, kerr.FencedLeaderEpoch) || errors.Is(err, kerr.UnknownLeaderEpoch)
}

// load replays the log into a new shard. After an error it is to be tried
// again; a stop in the middle of it counts as loaded.
func (l *loop[S]) load() error {
	began := time.Now()
	l.shard = l.cfg.New(l.partition)
	start, end := l.log.Bounds()
	var buf []byte
	var records int64
	for from := start; from < end; {
		select {
		case <-l.stop:
			return nil
		default:
		}
		b, err := l.log.Read(from, l.cfg.LoadBytes, buf)
		if err == nil && len(b) == 0 {
			err = errors.New("the log ends before its end offset")
		}
		if err == nil {
			var n int64
			from, n, err = replay(l.shard, b, from, l.badRecord)
			records += n
		}
		if err != nil {
			return err
		}
		buf = b
		l.shard.Committed(min(from, l.log.Committed()))
	}
	l.written, l.loaded, l.committed = end, end, min(end, l.log.Committed())
	l.shard.Committed(l.committed)
	if f := l.cfg.Events.Loaded; f != nil {
		f(l.partition, records, time.Since(began))
	}
	return nil
}

// badRecord: a record that cannot be read is reported and passed over.
//
// Differs from Kafka: it fails the load of the partition, so that one record
// (written by a tool, say) takes a fiftieth of all groups away. The batch's CRC
// was right, so the bytes are what somebody wrote.
func (l *loop[S]) badRecord(offset int64, err error) {
	if f := l.cfg.Events.BadRecord; f != nil {
		f(l.partition, offset, err)
	}
}

func (l *loop[S]) serve(m mail[S]) {
	l.servePosts() // what was posted before m came
	if m.read != nil {
		if l.committed < l.loaded {
			l.settle()
		}
		if l.committed < l.loaded {
			// The leader before may have answered for what is not known to be
			// committed here yet: the view must not go back behind that.
			//
			// Differs from Kafka: it answers with what was committed before.
			m.call <- outcome{err: kerr.CoordinatorLoadInProgress}
			return
		}
		m.read(l.shard)
		m.call <- outcome{}
		return
	}
	now := l.cfg.Now()
	l.ticket++
	t := l.ticket
	l.calls[t] = m.call
	l.carry(t, m.write(l.shard, now, t), now)
}

func (l *loop[S]) servePosts() {
	l.postMu.Lock()
	posts := l.posts
	l.posts = nil
	l.postMu.Unlock()
	for _, op := range posts {
		now := l.cfg.Now()
		l.carry(0, op(l.shard, now), now)
	}
}

// carry carries out what the shard decided for the call t (0: for nobody).
func (l *loop[S]) carry(t Ticket, res Result, now time.Time) {
	if res.Err != nil {
		l.answer(t, nil, res.Err)
		l.release(res.Answers)
		return
	}
	end, err := l.write(res, now)
	l.release(res.Answers)
	if f := l.cfg.Events.Note; f != nil {
		for _, n := range res.Notes {
			f(l.partition, n)
		}
	}
	if err != nil {
		if f := l.cfg.Events.WriteError; f != nil {
			f(l.partition, err)
		}
		if res.Reply != nil {
			l.answer(t, nil, err)
		}
		if res.Settled != nil {
			l.carry(0, res.Settled(now, false, err), now)
		}
		return
	}
	if len(res.Effects) > 0 {
		l.effects = append(l.effects, due{end, res.Effects})
	} else if len(res.Records) == 0 && res.Marker == nil && res.Reply == nil && res.Settled == nil {
		return
	}
	l.waits = append(l.waits, wait{
		end: end, deadline: now.Add(l.cfg.WriteTimeout),
		to: t, reply: res.Reply, settled: res.Settled,
	})
	if end <= l.committed || l.log.Committed() >= end {
		l.settle()
	}
}

// write appends the result's records and replays them. It returns the offset
// that must be committed before the result counts: the log end.
func (l *loop[S]) write(res Result, now time.Time) (int64, error) {
	if res.Marker != nil {
		return l.writeMarker(res.Marker, now)
	}
	var o AppendOptions
	if res.Txn != nil {
		o.Guard = res.Txn.Guard
	}
	rest := res.Records
	for len(rest) > 0 {
		n := len(rest)
		if res.Divisible {
			n = min(n, divideAt)
		}
		b, err := build(&l.batch, rest[:n], res.Txn, now.UnixMilli())
		for err == nil && res.Divisible && n > 1 && len(b) > l.log.MaxBatch() {
			n = (n + 1) / 2
			b, err = build(&l.batch, rest[:n], res.Txn, now.UnixMilli())
		}
		if err != nil {
			return 0, err
		}
		if len(b) > l.log.MaxBatch() {
			return 0, kerr.RecordListTooLarge
		}
		end, err := l.log.Append(b, o)
		if err != nil {
			return 0, err
		}
		l.written = end
		if !res.Applied {
			for i, r := range rest[:n] {
				at := end - int64(n-i)
				if res.Txn != nil {
					err = l.transactional().ReplayInTxn(at, res.Txn.Producer, r)
				} else {
					err = l.shard.Replay(at, r)
				}
				if err != nil {
					panic("broken invariant: a shard cannot read what it wrote: " + err.Error())
				}
			}
		}
		rest = rest[n:]
	}
	if l.batch.Size() > keepBatch {
		l.batch = *batch.NewBuilder(l.cfg.Codec)
	}
	return l.written, nil
}

// writeMarker appends a marker and replays it.
func (l *loop[S]) writeMarker(m *Marker, now time.Time) (int64, error) {
	end, err := l.log.Append(marker(m, now.UnixMilli()), AppendOptions{TxnVersion: m.TxnVersion})
	if err != nil {
		return 0, err
	}
	l.written = end
	l.transactional().ReplayMarker(end-1, m.Producer, m.Commit)
	return end, nil
}

func (l *loop[S]) transactional() Transactional {
	t, ok := any(l.shard).(Transactional)
	if !ok {
		panic("broken invariant: a shard without transactions writes in one")
	}
	return t
}

// settle moves the committed view and answers whoever waited for that.
func (l *loop[S]) settle() {
	if c := min(l.log.Committed(), l.written); c > l.committed {
		l.committed = c
		l.shard.Committed(c)
	}
	for len(l.effects) > 0 && l.effects[0].end <= l.committed {
		d := l.effects[0]
		l.effects[0] = due{}
		if l.effects = l.effects[1:]; len(l.effects) == 0 {
			l.effects = nil
		}
		for _, e := range d.effects {
			l.cfg.Effect(l.partition, l.epoch, e)
		}
	}
	for len(l.waits) > 0 && l.waits[0].end <= l.committed {
		l.pop(l.cfg.Now(), nil)
	}
}

// pop takes the first wait and ends it, well (err nil) or badly.
func (l *loop[S]) pop(now time.Time, err error) {
	w := l.waits[0]
	l.waits[0] = wait{}
	l.waits = l.waits[1:]
	if len(l.waits) == 0 {
		l.waits = nil
	}
	if w.reply != nil {
		if err != nil {
			w.reply = nil
		}
		l.answer(w.to, w.reply, err)
	}
	if w.settled != nil {
		l.carry(0, w.settled(now, true, err), now)
	}
}

// fire does what is due: the shard's timers and the waits that took too long.
// What came before is served first, for after a time in which the disk held the
// loop up, the heartbeats that renew sessions are in the mailbox, and the commit
// that was waited for is there.
func (l *loop[S]) fire() {
	next := l.shard.Next()
	if next.IsZero() && len(l.waits) == 0 {
		return
	}
	now := l.cfg.Now()
	if len(l.waits) > 0 && !l.waits[0].deadline.After(now) {
		l.settle()
		for len(l.waits) > 0 && !l.waits[0].deadline.After(now) {
			l.pop(now, kerr.RequestTimedOut)
		}
	}
	if next.IsZero() || next.After(now) {
		return
	}
	for n := len(l.mail); n > 0; n-- {
		l.serve(<-l.mail)
	}
	l.carry(0, l.shard.Tick(now), now)
}

// arm sets the timer and the wait for the log to what comes first.
func (l *loop[S]) arm() {
	next := l.shard.Next()
	if len(l.waits) > 0 && (next.IsZero() || l.waits[0].deadline.Before(next)) {
		next = l.waits[0].deadline
	}
	// A timer that fires too early costs a turn of the loop, a Reset at every
	// turn would cost more.
	if !next.IsZero() && (l.timerAt.IsZero() || next.Before(l.timerAt)) {
		l.timer.Reset(next.Sub(l.cfg.Now()))
		l.timerAt = next
	}

	end := l.written
	if len(l.waits) > 0 {
		end = l.waits[0].end
	}
	switch {
	case l.committed >= end:
		l.unawait()
	case l.await == nil || l.awaitEnd != end:
		l.unawait()
		l.await, l.stopAwait = l.log.Await(end)
		l.awaitEnd = end
	}
}

func (l *loop[S]) unawait() {
	if l.stopAwait != nil {
		l.stopAwait()
		l.stopAwait = nil
	}
	l.await = nil
}

func (l *loop[S]) release(answers []Answer) {
	for _, a := range answers {
		l.answer(a.To, a.Reply, nil)
	}
}

// answer ends the call t; one that was already ended, or 0, is passed over.
func (l *loop[S]) answer(t Ticket, reply any, err error) {
	c := l.calls[t]
	if c == nil {
		return
	}
	delete(l.calls, t)
	c <- outcome{reply, err}
}

// refuse answers all mail with NOT_COORDINATOR until the loop is stopped.
func (l *loop[S]) refuse() {
	for {
		select {
		case <-l.stop:
			return
		case m := <-l.mail:
			m.call <- outcome{err: kerr.NotCoordinator}
		}
	}
}

// unload ends the loop: nobody stays waiting.
func (l *loop[S]) unload() {
	l.phase.Store(int32(gone))
	l.unawait()
	l.failAll(kerr.NotCoordinator)
	close(l.done)
	l.drain()
	if f := l.cfg.Events.Unloaded; f != nil {
		f(l.partition)
	}
}

func (l *loop[S]) failAll(err error) {
	l.waits, l.effects = nil, nil
	for t := range l.calls {
		l.answer(t, nil, err)
	}
}

// drain answers mail that nobody will read. Any goroutine may call it once done
// is closed.
func (l *loop[S]) drain() {
	for {
		select {
		case m := <-l.mail:
			m.call <- outcome{err: kerr.NotCoordinator}
		default:
			return
		}
	}
}
