// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"gregor/internal/meta"
	"gregor/internal/node"
	"gregor/internal/replica"
)

// partitionKey names a partition of one topic, which is not the one of the same
// name that was made later.
type partitionKey struct {
	topic meta.UUID
	index int32
	name  string // for people
}

func (k partitionKey) String() string { return fmt.Sprintf("%s-%d", k.name, k.index) }

// checks are the checkers that look behind the protocol.
type checks struct {
	mu         sync.Mutex // guards the rest; a leaf but for what partitions guard themselves
	images     images
	leaders    leaders
	watermarks watermarks
	logs       logs
	newest     *meta.Image
	moves      moves
	found      []string
}

// mostFound bounds what is kept: the first violations tell the story.
const mostFound = 20

func newChecks() *checks {
	return &checks{moves: moves{began: time.Now()}, images: newImages(), leaders: newLeaders(), watermarks: newWatermarks(), logs: newLogs()}
}

func (c *checks) add(err error) {
	if err != nil && len(c.found) < mostFound && !slices.Contains(c.found, err.Error()) {
		c.found = append(c.found, err.Error())
	}
}

// report adds what was found elsewhere.
func (c *checks) report(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(errors.New(what))
}

// published is called by each node with each image that it puts into force.
func (c *checks) published(id int32, img *meta.Image) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(c.images.observe(id, img))
	if c.newest == nil || img.Version() > c.newest.Version() {
		before := c.newest
		c.newest = img
		for t := range img.Topics() {
			for i, p := range t.Partitions() {
				c.moves.note(before, t, i, p)
				c.add(c.leaders.recorded(partitionKey{t.ID, i, t.Name}, p.LeaderEpoch, p.Leader))
			}
		}
	}
}

// sample looks at what every node hosts.
func (c *checks) sample(machines []*machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tables := map[int32]*replica.Table{}
	for _, m := range machines {
		if n := m.running(); n != nil {
			if t := n.Partitions(); t != nil {
				tables[m.id] = t
			}
		}
	}
	type lead struct {
		key   partitionKey
		id    int32
		epoch int32
		hw    int64
	}
	var leads []lead // high watermarks first: what is flushed only grows
	for id, t := range tables {
		for _, p := range t.All() {
			key := partitionKey{p.ID(), p.Index(), p.Topic()}
			epoch, leading := p.LeaderEpoch()
			if !leading {
				continue
			}
			hw := p.HighWatermark()
			if after, still := p.LeaderEpoch(); !still || after != epoch {
				continue
			}
			c.add(c.leaders.leads(key, epoch, id))
			c.add(c.watermarks.moved(key, epoch, hw))
			leads = append(leads, lead{key, id, epoch, hw})
		}
	}
	for _, l := range leads {
		if c.newest == nil {
			continue
		}
		topic := c.newest.TopicByID(l.key.topic)
		if topic == nil {
			continue
		}
		p := topic.Partition(l.key.index)
		if p == nil || p.LeaderEpoch != l.epoch {
			continue
		}
		for _, member := range p.ISR {
			if held, ok := heldBy(tables[member], l.key); ok {
				c.add(c.watermarks.covered(l.key, l.epoch, l.hw, member, held))
			}
		}
	}
}

// heldBy is up to where a replica holds a partition: on disk, on durable topics.
func heldBy(t *replica.Table, key partitionKey) (int64, bool) {
	if t == nil {
		return 0, false
	}
	p := t.ByID(key.topic, key.index)
	if p == nil {
		return 0, false
	}
	l := p.Log()
	if l == nil {
		return 0, false
	}
	if l.Config().Durable {
		return l.Flushed(), true
	}
	return l.End(), true
}

// compare reads what every node has added below its high watermark since the
// last time.
func (c *checks) compare(machines []*machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range machines {
		n := m.running()
		if n == nil || n.Partitions() == nil {
			continue
		}
		c.add(c.compareNode(m.id, n))
	}
}

func (c *checks) compareNode(id int32, n *node.Node) error {
	var wrong []string
	for _, p := range n.Partitions().All() {
		l := p.Log()
		if l == nil || strings.HasPrefix(p.Topic(), "__") { // those are compacted
			continue
		}
		key := partitionKey{p.ID(), p.Index(), p.Topic()}
		if err := c.logs.read(key, reader{id, n}, l, p.HighWatermark()); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "; "))
	}
	return nil
}

// allInSync tells whether the newest metadata name every replica in sync.
func (c *checks) allInSync() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return false
	}
	for t := range c.newest.Topics() {
		for _, p := range t.Partitions() {
			if len(p.ISR) < len(p.Replicas) {
				return false
			}
		}
	}
	return true
}

// moves tells how partitions changed, for a failing test to print.
type moves struct {
	began time.Time
	lines []string
}

// mostMoves bounds what is kept; the last ones tell how it ended.
const mostMoves = 400

func (m *moves) note(before *meta.Image, t *meta.Topic, i int32, p *meta.Partition) {
	if before != nil {
		if old := before.Partition(t.Name, i); old == p || old != nil && old.PartitionEpoch == p.PartitionEpoch {
			return
		}
	}
	if len(m.lines) >= mostMoves {
		m.lines = m.lines[mostMoves/2:]
	}
	m.lines = append(m.lines, fmt.Sprintf("%9.3fs %s-%d: leader %d epoch %d.%d isr %v elr %v last %v", time.Since(m.began).Seconds(),
		t.Name, i, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR, p.ELR, p.LastELR))
}

// state is what the newest metadata say, for a failing test to print.
func (c *checks) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.newest == nil {
		return "no metadata"
	}
	s := strings.Join(c.moves.lines, "\n") + fmt.Sprintf("\nversion %d", c.newest.Version())
	for b := range c.newest.Brokers() {
		s += fmt.Sprintf("\nbroker %d: epoch %d fenced %v stopping %v", b.ID, b.Epoch, b.Fenced, b.Stopping)
	}
	for t := range c.newest.Topics() {
		for i, p := range t.Partitions() {
			s += fmt.Sprintf("\n%s-%d: leader %d epoch %d replicas %v isr %v elr %v last %v", t.Name, i, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, p.ELR, p.LastELR)
		}
	}
	return s
}

// leaderChanges counts, for each partition, how often the metadata named another
// leader so far.
func (c *checks) leaderChanges() map[partitionKey]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaders.changes()
}

// violations are what was found so far.
func (c *checks) violations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.found)
}
