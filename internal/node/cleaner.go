// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"math"
	"sync"
	"time"

	"gregor/internal/meta"
	"gregor/internal/storage"
	"gregor/internal/storage/clean"
)

// compaction runs the log cleaner over the compacted logs that are hosted.
type compaction struct {
	cleaner *clean.Cleaner
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

func (n *Node) startCleaner() {
	c := n.live.Broker().Cleaner
	if !c.Enabled {
		return
	}
	log := n.logs.Logger(logCleaner)
	cfg := clean.Config{
		FS: n.fs, Logs: n.compacted, MapBytes: int(c.DedupeBuffer) / max(c.Threads, 1), MapLoad: c.DedupeLoadFactor,
		BufferBytes: c.IOBuffer, Backoff: c.Backoff,
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
	}
	if r := c.MaxBytesPerSecond; r > 0 && r < math.MaxInt64 {
		cfg.Limiter = &pace{perSecond: r}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.compaction = &compaction{cleaner: clean.New(cfg), cancel: cancel}
	for range max(c.Threads, 1) {
		n.compaction.wg.Go(func() { n.compaction.cleaner.Run(ctx) })
	}
}

func (c *compaction) close() {
	c.cancel()
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
	if n.compaction == nil {
		return func() {}
	}
	type place struct {
		dir  string
		name storage.Name
	}
	var places []place
	for c := range d.TopicChanges() {
		if c.Old == nil || c.New != nil && !c.Recreated() {
			continue
		}
		for i := range c.Old.Partitions() {
			if p := n.table.ByID(c.Old.ID, i); p != nil && p.Log() != nil {
				x := place{p.Log().Dir().Path(), p.Log().Name()}
				n.compaction.cleaner.Pause(x.dir, x.name)
				places = append(places, x)
			}
		}
	}
	return func() {
		for _, x := range places {
			if err := n.compaction.cleaner.Deleted(x.dir, x.name); err != nil {
				n.log.Warn("the cleaner's checkpoint keeps a deleted log", "log", x.name.String(), "error", err)
			}
			n.compaction.cleaner.Resume(x.dir, x.name)
		}
	}
}

// pace lets bytes pass at a rate, in debt for what is larger than a second's.
type pace struct {
	perSecond float64
	mu        sync.Mutex // leaf
	free      time.Time  // when what has passed is paid for
}

func (p *pace) Wait(ctx context.Context, bytes int) error {
	p.mu.Lock()
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
