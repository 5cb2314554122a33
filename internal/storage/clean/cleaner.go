// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// Config is what a Cleaner needs. The zero value of a size, share or time
// takes Kafka's default.
type Config struct {
	FS vfs.FS // for the checkpoints
	// Logs lists the logs there are; those with Compact set are cleaned.
	Logs func() []Log
	// MapBytes is the memory for keys (log.cleaner.dedupe.buffer.size, 128
	// MiB) of each goroutine, MapLoad how full it gets
	// (log.cleaner.io.buffer.load.factor, 0.9), BufferBytes the size of a read
	// (log.cleaner.io.buffer.size, 512 KiB).
	MapBytes    int
	MapLoad     float64
	BufferBytes int
	// MaxInflated bounds what a compressed batch may inflate to; 0 =
	// batch.DefaultMaxInflated.
	MaxInflated int
	// Limiter holds reading and writing to a rate; nil: no limit.
	Limiter Limiter
	// Backoff is how long Run waits when nothing is dirty enough
	// (log.cleaner.backoff.ms, 15 s).
	Backoff time.Duration
	Events  Events
	// Now is the clock by whose wall time records grow old; nil is time.Now.
	Now func() time.Time
}

// Events tell what a cleaner did. They are called on its goroutines, without
// its lock. Any may be nil.
type Events struct {
	Cleaned func(Log, Stats)
	// Failed: a log could not be cleaned and will not be tried again in the
	// life of this Cleaner, unless Retry is called.
	Failed func(Log, error)
	// Reset: a checkpoint was unreadable or pointed outside its log.
	Reset func(dir string, n storage.Name, reason string)
}

// Tuning is the part of a Config that may change while the Cleaner lives.
type Tuning struct {
	MapBytes    int
	MapLoad     float64
	BufferBytes int
	Backoff     time.Duration
}

// Tune sets what a Worker made from now on works with, and how long Run waits.
func (c *Cleaner) Tune(t Tuning) {
	if t.MapBytes <= 0 {
		t.MapBytes = 128 << 20
	}
	if t.MapLoad <= 0 || t.MapLoad > 1 {
		t.MapLoad = 0.9
	}
	if t.BufferBytes <= 0 {
		t.BufferBytes = 512 << 10
	}
	if t.Backoff <= 0 {
		t.Backoff = 15 * time.Second
	}
	c.tuning.Store(&t)
}

// Cleaner cleans logs, the dirtiest first.
type Cleaner struct {
	cfg    Config // but for its tuning, which is the next field
	tuning atomic.Pointer[Tuning]
	points *checkpoints // has its own lock, which is never taken under mu

	mu     sync.Mutex // a leaf; guards what follows
	busy   map[key]*task
	paused map[key]int
	failed map[key]error
	known  map[key]assessment
	cuts   map[key]uint64 // truncations that the checkpoint knows of
}

// key names a log: while it moves between directories there are two of a name.
type key struct {
	dir  string
	name storage.Name
}

func keyOf(l Log) key { return key{l.DirPath(), l.Name()} }

// task is a cleaning under way.
type task struct {
	cancel  context.CancelFunc // ends its waiting and soon all of it; nil until begun; guarded by Cleaner.mu
	stopped atomic.Bool        // set by Pause
	done    chan struct{}      // closed at the end
}

// assessment is remembered so that logs in which nothing moved are not looked
// at again and again: looking opens them.
type assessment struct {
	start, end, stable int64
	dirt               Dirt
}

// New makes a Cleaner.
func New(cfg Config) *Cleaner {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Cleaner{
		cfg: cfg, points: newCheckpoints(cfg.FS),
		busy: map[key]*task{}, paused: map[key]int{}, failed: map[key]error{}, known: map[key]assessment{}, cuts: map[key]uint64{},
	}
	c.Tune(Tuning{cfg.MapBytes, cfg.MapLoad, cfg.BufferBytes, cfg.Backoff})
	return c
}

// Run cleans until ctx ends, waiting when there is nothing to do. Several
// goroutines may run at once; each has its own key map.
func (c *Cleaner) Run(ctx context.Context) {
	w := c.NewWorker()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if w.Step(ctx) {
			timer.Reset(0)
		} else {
			timer.Reset(c.tuning.Load().Backoff)
		}
	}
}

// Worker cleans one log at a time; it owns the memory for that.
type Worker struct {
	c      *Cleaner
	keys   *keyMap
	buffer *buffer
}

// NewWorker makes a Worker, for one goroutine.
func (c *Cleaner) NewWorker() *Worker {
	t := c.tuning.Load()
	return &Worker{c: c, keys: newKeyMap(t.MapBytes, t.MapLoad), buffer: &buffer{size: t.BufferBytes}}
}

// Step cleans the dirtiest log and says whether it did; false also when it
// failed, so that what cannot be done now is not tried at once again.
func (w *Worker) Step(ctx context.Context) bool {
	best, t, ok := w.c.take(ctx)
	if !ok {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.c.begin(t, cancel)
	run := cleaning{
		ctx: ctx, log: best.log, limiter: w.c.cfg.Limiter, buffer: w.buffer, keys: w.keys, config: best.log.Config(),
		stop: func() bool { return ctx.Err() != nil },
	}
	run.cuts, _ = best.log.Cuts()
	stats, err := run.run(best.dirt, w.c.cfg.Now, w.c.cfg.MaxInflated)
	if n, _ := best.log.Cuts(); err != nil && n != run.cuts {
		err = errStopped // what was being read was cut off
	}
	w.keys.clear()
	w.c.finish(best.log, t, stats, err)
	return err == nil
}

// take picks a log and marks it busy.
func (c *Cleaner) take(ctx context.Context) (candidate, *task, bool) {
	var found []candidate
	live := map[key]bool{}
	for _, l := range c.cfg.Logs() {
		k := keyOf(l)
		live[k] = true
		if ctx.Err() != nil || !l.Config().Compact || l.Start() == l.End() || !c.free(k) {
			continue
		}
		d, err := c.assess(l)
		if err != nil {
			c.fail(l, fmt.Errorf("look for dirt in %s: %w", k.name, err))
			continue
		}
		found = append(found, candidate{l, d})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.known {
		if !live[k] {
			delete(c.known, k)
			delete(c.failed, k)
			delete(c.cuts, k)
		}
	}
	for {
		best, ok := dirtiest(found)
		if !ok {
			return candidate{}, nil, false
		}
		k := keyOf(best.log)
		if c.busy[k] == nil && c.paused[k] == 0 {
			t := &task{done: make(chan struct{})}
			c.busy[k] = t
			return best, t, true
		}
		found = deleteLog(found, best.log) // taken by another worker meanwhile
	}
}

// begin lets Pause end the task; one that came before has ended it already.
func (c *Cleaner) begin(t *task, cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.cancel = cancel
	if t.stopped.Load() {
		cancel()
	}
}

func deleteLog(cs []candidate, l Log) []candidate {
	var out []candidate
	for _, c := range cs {
		if c.log != l {
			out = append(out, c)
		}
	}
	return out
}

func (c *Cleaner) free(k key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy[k] == nil && c.paused[k] == 0 && c.failed[k] == nil
}

// assess finds a log's dirt.
func (c *Cleaner) assess(l Log) (Dirt, error) {
	k, cfg := keyOf(l), l.Config()
	s := situation{start: l.Start(), end: l.End(), stable: lastStable(l), config: cfg, now: c.cfg.Now()}
	timeless := cfg.MinCompactionLag <= 0 && cfg.MaxCompactionLag <= 0
	var damaged error
	s.checkpoint, damaged = c.points.get(k.dir, k.name)
	cuts, lowest := l.Cuts()

	c.mu.Lock()
	a, ok := c.known[k]
	cut := c.cuts[k] != cuts
	c.mu.Unlock()
	if cut && cuts > 0 && s.checkpoint > lowest {
		s.checkpoint = lowest
		if err := c.points.set(k.dir, k.name, lowest); err != nil {
			return Dirt{}, err
		}
	}
	if damaged != nil {
		c.reset(k.dir, storage.Name{}, damaged.Error())
	}
	if ok && !cut && timeless && a.start == s.start && a.end == s.end && a.stable == s.stable {
		return a.dirt, nil
	}
	var err error
	if s.segments, err = l.Segments(); err != nil {
		return Dirt{}, err
	}
	s.firstTimestamp = func(base int64) int64 { return firstTimestamp(l, base) }
	d := assess(s)
	if d.Reset {
		c.reset(k.dir, k.name, fmt.Sprintf("offset %d lies outside [%d, %d]", s.checkpoint, s.start, s.end))
		if err := c.points.set(k.dir, k.name, d.From); err != nil {
			return Dirt{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts[k] = cuts
	if !sealing(s.segments) {
		c.known[k] = assessment{s.start, s.end, s.stable, d}
	}
	return d, nil
}

// sealing tells whether segments will become cleanable without an append.
func sealing(segments []storage.SegmentInfo) bool {
	return len(segments) > 1 && segments[len(segments)-2].Active
}

func (c *Cleaner) reset(dir string, n storage.Name, reason string) {
	if c.cfg.Events.Reset != nil {
		c.cfg.Events.Reset(dir, n, reason)
	}
}

func lastStable(l Log) int64 {
	stable := l.HighWatermark()
	if b := l.StableBound(); b >= 0 {
		stable = min(stable, b)
	}
	return stable
}

// firstTimestamp is the largest of a segment's first batch; -1 when there is
// none. It is only used to tell a log's age, so errors do not matter here.
func firstTimestamp(l Log, base int64) int64 {
	f, n, release, err := l.OpenSegment(base)
	if err != nil {
		return -1
	}
	defer release()
	var header [batch.HeaderSize]byte
	if _, err := f.ReadAt(header[:], 0); n < batch.HeaderSize || err != nil && !errors.Is(err, io.EOF) {
		return -1
	}
	return int64(binary.BigEndian.Uint64(header[35:]))
}

// finish notes how a cleaning ended.
func (c *Cleaner) finish(l Log, t *task, stats Stats, err error) {
	k := keyOf(l)
	if err == nil && !t.stopped.Load() {
		err = c.points.set(k.dir, k.name, stats.End)
	}
	c.mu.Lock()
	delete(c.busy, k)
	delete(c.known, k)
	c.mu.Unlock()
	close(t.done)
	switch {
	case err == nil:
		if c.cfg.Events.Cleaned != nil {
			c.cfg.Events.Cleaned(l, stats)
		}
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, storage.ErrClosed), errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrDirFailed):
		// Asked to end, or the log went away under it: not the log's fault.
	case errors.Is(err, storage.ErrNoSpace), vfs.IsNoSpace(err):
		// Try again when there may be room: compaction makes some.
	default:
		c.fail(l, fmt.Errorf("clean %s: %w", k.name, err))
	}
}

func (c *Cleaner) fail(l Log, err error) {
	c.mu.Lock()
	c.failed[keyOf(l)] = err
	c.mu.Unlock()
	if c.cfg.Events.Failed != nil {
		c.cfg.Events.Failed(l, err)
	}
}

// Pause ends the cleaning of a log, waits until it has ended, and keeps it
// from being cleaned until Resume; calls nest. Before a log is truncated,
// deleted or moved it is paused.
func (c *Cleaner) Pause(dir string, n storage.Name) {
	k := key{dir, n}
	c.mu.Lock()
	c.paused[k]++
	t := c.busy[k]
	if t != nil {
		t.stopped.Store(true)
		if t.cancel != nil {
			t.cancel()
		}
	}
	c.mu.Unlock()
	if t != nil {
		<-t.done
	}
}

// Resume undoes one Pause.
func (c *Cleaner) Resume(dir string, n storage.Name) {
	k := key{dir, n}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused[k]--; c.paused[k] <= 0 {
		delete(c.paused, k)
	}
}

// Truncated lowers the checkpoint of a log that now ends at end. It may be left
// out: the next look at the log finds out, but not after a restart.
func (c *Cleaner) Truncated(dir string, n storage.Name, end int64) error {
	c.forget(key{dir, n})
	return c.points.edit(dir, func(points map[storage.Name]int64) bool {
		p, ok := points[n]
		if ok && p > end {
			points[n] = end
		}
		return ok && p > end
	})
}

// Reconcile brings a directory's checkpoint in line with the logs that are
// there now, by name with their ends: those of logs that are gone are dropped,
// those above an end are lowered to it. Meant for the start; what happened to
// logs without the cleaner being told is made good.
func (c *Cleaner) Reconcile(dir string, ends map[storage.Name]int64) error {
	return c.points.edit(dir, func(points map[storage.Name]int64) (changed bool) {
		for n, p := range points {
			switch end, ok := ends[n]; {
			case !ok:
				delete(points, n)
				changed = true
			case p > end:
				points[n] = end
				changed = true
			}
		}
		return changed
	})
}

// Deleted forgets a log.
func (c *Cleaner) Deleted(dir string, n storage.Name) error {
	c.Retry(dir, n)
	c.mu.Lock()
	delete(c.cuts, key{dir, n})
	c.mu.Unlock()
	return c.points.remove(dir, n)
}

// Moved takes a log's checkpoint along to another directory.
func (c *Cleaner) Moved(n storage.Name, from, to string) error {
	c.mu.Lock()
	if err := c.failed[key{from, n}]; err != nil {
		c.failed[key{to, n}] = err
	}
	c.mu.Unlock()
	p, _ := c.points.get(from, n)
	if p >= 0 {
		if err := c.points.set(to, n, p); err != nil {
			return err
		}
	}
	return c.Deleted(from, n)
}

func (c *Cleaner) forget(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, k)
}

// Uncleanable lists the logs of a directory that failed, and why.
func (c *Cleaner) Uncleanable(dir string) map[storage.Name]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[storage.Name]error{}
	for k, err := range c.failed {
		if k.dir == dir {
			out[k.name] = err
		}
	}
	return out
}

// Retry gives a log that failed another chance.
func (c *Cleaner) Retry(dir string, n storage.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.failed, key{dir, n})
	delete(c.known, key{dir, n})
}
