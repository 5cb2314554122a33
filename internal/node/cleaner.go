// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/storage"
	"gregor/internal/storage/clean"
)

// compaction runs the log cleaner over the compacted logs that are hosted, with
// as many goroutines as log.cleaner.threads says.
type compaction struct {
	cleaner *clean.Cleaner
	pace    *pace
	wg      sync.WaitGroup
	stop    context.CancelFunc
	// changed: other settings are in force; capacity 1.
	changed chan struct{}
	// threads that run now, and the sizes they were made with. They belong to
	// the goroutine of run; tests read started.
	started atomic.Pointer[config.Cleaner]
}

func (n *Node) startCleaner() {
	c := n.live.Broker().Cleaner
	if !c.Enabled {
		n.table.ResumeMoves()
		return
	}
	log := n.logs.Logger(logCleaner)
	x := &compaction{pace: &pace{}, changed: make(chan struct{}, 1)}
	x.pace.set(c.MaxBytesPerSecond)
	x.cleaner = clean.New(clean.Config{
		FS: n.fs, Logs: n.compacted, Limiter: x.pace, Now: n.cfg.Now,
		Events: clean.Events{
			Cleaned: func(l clean.Log, s clean.Stats) {
				log.Debug("log cleaned", "log", l.Name().String(), "up_to", s.End, "read_bytes", s.ReadBytes,
					"kept_bytes", s.KeptBytes, "took", s.TotalTime)
			},
			Failed: func(l clean.Log, err error) {
				log.Error("log cannot be cleaned and is left as it is", "log", l.Name().String(), "error", err)
			},
			Reset: func(dir string, name storage.Name, reason string) {
				log.Warn("cleaning begins at the start again", "dir", dir, "log", name.String(), "reason", reason)
			},
		},
	})
	n.forgetUncleaned(x.cleaner, log)
	n.compaction.Store(x)
	// Moves that a stop interrupted pause the cleaning of their logs first.
	n.table.ResumeMoves()
	ctx, cancel := context.WithCancel(context.Background())
	x.stop = cancel
	x.wg.Go(func() { x.run(ctx, func() config.Cleaner { return n.live.Broker().Cleaner }) })
	n.live.Subscribe(func(old, now *config.Broker) {
		if old.Cleaner == now.Cleaner {
			return
		}
		x.pace.set(now.Cleaner.MaxBytesPerSecond)
		select {
		case x.changed <- struct{}{}:
		default:
		}
	})
}

// forgetUncleaned drops from the cleaner's checkpoints the logs that are no
// longer in their directory, and lowers what lies above a log's end: what
// happened to them while no cleaner ran, or before it noted it.
func (n *Node) forgetUncleaned(c *clean.Cleaner, log *slog.Logger) {
	for _, d := range n.table.Dirs() {
		ends := map[storage.Name]int64{}
		for _, p := range n.table.All() {
			if l := p.Log(); l != nil && l.Dir() == d {
				ends[l.Name()] = l.End()
			}
		}
		for _, name := range d.Logs() { // not hosted, but not gone either
			if _, ok := ends[name]; !ok {
				ends[name] = math.MaxInt64
			}
		}
		if d.Err() != nil {
			continue
		}
		if err := c.Reconcile(d.Path(), ends); err != nil {
			log.Warn("the cleaner's checkpoint could not be brought up to date", "dir", d.Path(), "error", err)
		}
	}
}

// run keeps the cleaners going and, when settings change, ends them and begins
// anew, as Kafka does: their memory is sized by the settings.
func (c *compaction) run(ctx context.Context, settings func() config.Cleaner) {
	for ctx.Err() == nil {
		s := settings()
		c.cleaner.Tune(clean.Tuning{
			MapBytes: int(s.DedupeBuffer) / max(s.Threads, 1), MapLoad: s.DedupeLoadFactor,
			BufferBytes: s.IOBuffer, Backoff: s.Backoff,
		})
		running, cancel := context.WithCancel(ctx)
		var cleaners sync.WaitGroup
		for range s.Threads {
			cleaners.Go(func() { c.cleaner.Run(running) })
		}
		c.started.Store(&s)
		select {
		case <-ctx.Done():
		case <-c.changed:
		}
		cancel()
		cleaners.Wait()
	}
}

func (c *compaction) close() {
	c.stop()
	c.wg.Wait()
}

// compacted lists the hosted logs whose topic is compacted.
func (n *Node) compacted() []clean.Log {
	var out []clean.Log
	for _, p := range n.table.All() {
		if l := p.Log(); l != nil && l.Config().Compact {
			out = append(out, clean.Of(l))
		}
	}
	return out
}

// gone pauses the cleaning of the logs that a delta takes away and returns
// what is to be done once they are gone.
func (n *Node) gone(d *meta.Delta) (after func()) {
	c := n.compaction.Load()
	if c == nil {
		return func() {}
	}
	type place struct {
		dir  string
		name storage.Name
	}
	var places []place
	for t := range d.TopicChanges() {
		if t.Old == nil || t.New != nil && !t.Recreated() {
			continue
		}
		for i := range t.Old.Partitions() {
			if p := n.table.ByID(t.Old.ID, i); p != nil && p.Log() != nil {
				x := place{p.Log().Dir().Path(), p.Log().Name()}
				c.cleaner.Pause(x.dir, x.name)
				places = append(places, x)
			}
		}
	}
	return func() {
		for _, x := range places {
			if err := c.cleaner.Deleted(x.dir, x.name); err != nil {
				n.log.Warn("the cleaner's checkpoint keeps a deleted log", "log", x.name.String(), "error", err)
			}
			c.cleaner.Resume(x.dir, x.name)
		}
	}
}

// pace lets bytes pass at a rate, in debt for what is larger than a second's.
type pace struct {
	mu        sync.Mutex // leaf
	perSecond float64    // 0: no limit
	free      time.Time  // when what has passed is paid for
}

// set changes the rate for what passes from now on.
func (p *pace) set(perSecond float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perSecond = perSecond; perSecond <= 0 || perSecond >= math.MaxInt64 {
		p.perSecond = 0
	}
	p.free = time.Time{}
}

func (p *pace) Wait(ctx context.Context, bytes int) error {
	p.mu.Lock()
	if p.perSecond == 0 {
		p.mu.Unlock()
		return ctx.Err()
	}
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(bytes) / p.perSecond * float64(time.Second)))
	wait := p.free.Sub(now)
	p.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
