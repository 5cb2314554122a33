// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
	"gregor/internal/storage"
)

// dirNews is what the controller is still to be told of log directories: which
// failed (with each heartbeat) and which replica lies where. It belongs to the
// goroutine that beats.
type dirNews struct {
	failed time.Time  // since when a failure is not known to the controller
	asking chan error // capacity 1: the outcome of the request under way, nil: there is none
}

// offlineDirs are the directories that failed.
func (n *Node) offlineDirs() (out []meta.UUID) {
	for _, d := range n.table.Dirs() {
		if d.Err() != nil {
			out = append(out, d.ID())
		}
	}
	return out
}

// cordoned tells whether a directory takes no new replicas.
func (n *Node) cordoned(d *storage.Dir) bool {
	c := n.live.Broker().CordonedDirs
	return slices.Contains(c, "*") || slices.Contains(c, d.Path())
}

// cordonedDirs are the directories that take no new replicas; never nil.
func (n *Node) cordonedDirs() []meta.UUID {
	out := []meta.UUID{}
	for _, d := range n.table.Dirs() {
		if d.Err() == nil && n.cordoned(d) {
			out = append(out, d.ID())
		}
	}
	return out
}

// tellDirs looks, after a heartbeat, whether the controller knows all.
func (m *membership) tellDirs(ctx context.Context, offline []meta.UUID, told bool) {
	n, now := m.n, time.Now()
	switch limit := n.live.Broker().Log.DirFailureTimeout; {
	case told || len(offline) == 0:
		m.dirs.failed = time.Time{}
	case m.dirs.failed.IsZero():
		m.dirs.failed = now
	case now.Sub(m.dirs.failed) >= limit:
		n.fail(fmt.Errorf("a log directory failed and no controller could be told for %v (log.dir.failure.timeout.ms)", limit))
	}
	select {
	case err := <-m.dirs.asking:
		if m.dirs.asking = nil; err != nil {
			n.homesIn.Store(nil) // asked again
		}
	default:
	}
	img := n.image.Load()
	if !told || m.dirs.asking != nil || img == n.homesIn.Load() {
		return
	}
	n.homesIn.Store(img) // before they are looked at: a move may end meanwhile
	homes := n.homes(img)
	if len(homes) == 0 {
		return
	}
	outcome := make(chan error, 1)
	m.dirs.asking = outcome
	m.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, n.live.Broker().RequestTimeout)
		defer cancel()
		err := n.uplink.AssignDirs(ctx, homes)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("the controller was not told in which directories replicas lie", "replicas", len(homes), "error", err)
		}
		outcome <- err
	})
}

// homes are the replicas of this broker that lie elsewhere than img says.
func (n *Node) homes(img *meta.Image) []plan.DirAssignment {
	id := n.live.Broker().NodeID
	var out []plan.DirAssignment
	for p, dir := range n.table.Homes {
		t := img.TopicByID(p.Topic)
		if t == nil {
			continue
		}
		if m := t.Partition(p.Partition); m != nil && m.HasReplica(id) && m.Dir(id) != dir {
			out = append(out, plan.DirAssignment{Dir: dir, Topic: p.Topic, Partition: p.Partition})
		}
	}
	slices.SortStableFunc(out, func(a, b plan.DirAssignment) int { return slices.Compare(a.Dir[:], b.Dir[:]) })
	return out
}
