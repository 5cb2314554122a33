// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"sync"
	"time"
)

// guard notices a disk that hangs. The loop syncs in line, so while the disk
// hangs no heartbeat leaves and others elect a leader by themselves; what is
// left to do is to answer those who wait here, and not to go on as a leader
// when the disk comes back.
//
// Leaf mutex: guards all fields; nothing is called beneath it.
type guard struct {
	mu      sync.Mutex
	busy    bool
	since   time.Time
	hanging bool
	ch      chan struct{} // closed while hanging
	done    chan struct{}
}

func (g *guard) start() {
	g.ch = make(chan struct{})
	g.done = make(chan struct{})
}

func (g *guard) stop() { close(g.done) }

func (g *guard) begin() {
	g.mu.Lock()
	g.busy, g.since = true, time.Now()
	g.mu.Unlock()
}

// finish tells whether the work that began last was noticed to hang.
func (g *guard) finish() (stalled bool, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
	if stalled = g.hanging; stalled {
		g.hanging = false
		g.ch = make(chan struct{})
	}
	return stalled, time.Since(g.since)
}

// check is called by the watcher; it tells of a stall once.
func (g *guard) check(limit time.Duration) (time.Duration, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	took := time.Since(g.since)
	if !g.busy || g.hanging || took < limit {
		return 0, false
	}
	g.hanging = true
	close(g.ch)
	return took, true
}

func (g *guard) stalled() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ch
}

func (g *guard) isStalled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hanging
}

// watchDisk is the guard's goroutine; it ends with the loop.
func (n *Node) watchDisk() {
	election := n.cfg.Tick * time.Duration(n.cfg.ElectionTicks)
	tick := time.NewTicker(election)
	defer tick.Stop()
	for {
		select {
		case <-n.disk.done:
			return
		case <-tick.C:
		}
		if took, stalled := n.disk.check(2 * election); stalled && n.cfg.Events.Stalled != nil {
			n.cfg.Events.Stalled(took)
		}
	}
}
