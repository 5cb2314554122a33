// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"cmp"
	"iter"
	"slices"
)

// Delta names what differs between two Images, each list sorted and without
// duplicates. What was created, changed or deleted is read off Old and New.
type Delta struct {
	Old, New *Image

	Cluster     bool
	Topics      []string
	Brokers     []int32
	Controllers []int32
	Configs     []Resource
	Features    []string
}

// Empty tells whether nothing that Delta names changed.
func (d *Delta) Empty() bool {
	return !d.Cluster && len(d.Topics)+len(d.Brokers)+len(d.Controllers)+len(d.Configs)+len(d.Features) == 0
}

// TopicChange is one topic before (nil: there was none) and after (nil: it is
// gone). A topic deleted and made anew within one Delta has two different ids.
type TopicChange struct {
	Name     string
	Old, New *Topic
}

// Recreated tells whether the name passed from one topic to another.
func (c TopicChange) Recreated() bool { return c.Old != nil && c.New != nil && c.Old.ID != c.New.ID }

// TopicChanges yields the topics that changed, in the order of names.
func (d *Delta) TopicChanges() iter.Seq[TopicChange] {
	return func(yield func(TopicChange) bool) {
		for _, n := range d.Topics {
			c := TopicChange{n, d.Old.Topic(n), d.New.Topic(n)}
			if c.Old == c.New {
				continue
			}
			if !yield(c) {
				return
			}
		}
	}
}

// Partitions yields the partitions of a changed topic that differ: old is nil
// for a new one, new is nil for one that is gone. When the topic was recreated
// every old partition is yielded as gone and every new one as new.
func (c TopicChange) Partitions() iter.Seq2[int32, PartitionChange] {
	return func(yield func(int32, PartitionChange) bool) {
		if c.Recreated() {
			for i, p := range c.Old.Partitions() {
				if !yield(i, PartitionChange{Old: p}) {
					return
				}
			}
			for i, p := range c.New.Partitions() {
				if !yield(i, PartitionChange{New: p}) {
					return
				}
			}
			return
		}
		old, after := c.Old, c.New
		if old == nil {
			old = &Topic{}
		}
		if after == nil {
			after = &Topic{}
		}
		for k := range max(len(old.chunks), len(after.chunks)) {
			if k < len(old.chunks) && k < len(after.chunks) && len(old.chunks[k]) == len(after.chunks[k]) &&
				&old.chunks[k][0] == &after.chunks[k][0] {
				continue // the chunk is shared
			}
			for i := int32(k * chunkSize); i < int32((k+1)*chunkSize); i++ {
				p, q := old.Partition(i), after.Partition(i)
				if p == q || p != nil && q != nil && p.Equal(q) {
					continue
				}
				if !yield(i, PartitionChange{p, q}) {
					return
				}
			}
		}
	}
}

// PartitionChange is one partition before and after; nil means absent.
type PartitionChange struct{ Old, New *Partition }

// Diff compares two Images whole, as a node does that jumps to a snapshot. It
// walks both, in the order of keys.
func Diff(old, after *Image) *Delta {
	return &Delta{
		Old: old, New: after,
		Cluster:     old.cluster != after.cluster,
		Topics:      diffTrees(old.topics, after.topics, func(a, b *Topic) bool { return a.equal(b) }),
		Brokers:     diffTrees(old.brokers, after.brokers, func(a, b *Broker) bool { return a.Equal(b) }),
		Controllers: diffTrees(old.controllers, after.controllers, func(a, b *Controller) bool { return a.equal(b) }),
		Configs:     diffTrees(old.configs, after.configs, slices.Equal[Settings]),
		Features:    diffTrees(old.features, after.features, func(a, b int16) bool { return a == b }),
	}
}

// diffTrees merges two ordered maps and returns the keys that differ.
func diffTrees[K, V any](a, b tree[K, V], same func(x, y V) bool) (keys []K) {
	if a.root == b.root {
		return nil
	}
	next, stop := iter.Pull2(b.all())
	defer stop()
	kb, vb, ok := next()
	for ka, va := range a.all() {
		for ok && a.cmp(kb, ka) < 0 {
			keys = append(keys, kb)
			kb, vb, ok = next()
		}
		if ok && a.cmp(kb, ka) == 0 {
			if !same(va, vb) {
				keys = append(keys, ka)
			}
			kb, vb, ok = next()
			continue
		}
		keys = append(keys, ka)
	}
	for ; ok; kb, _, ok = next() {
		keys = append(keys, kb)
	}
	return keys
}

func (t *Topic) equal(u *Topic) bool {
	if t == u {
		return true
	}
	if t.ID != u.ID || t.n != u.n {
		return false
	}
	for i, p := range t.Partitions() {
		if !p.Equal(u.Partition(i)) {
			return false
		}
	}
	return true
}

// Equal compares two registrations.
func (b *Broker) Equal(c *Broker) bool {
	return b == c || b.ID == c.ID && b.Epoch == c.Epoch && b.Incarnation == c.Incarnation && b.Rack == c.Rack &&
		b.Fenced == c.Fenced && b.Stopping == c.Stopping && slices.Equal(b.Endpoints, c.Endpoints) &&
		slices.Equal(b.Dirs, c.Dirs) && slices.Equal(b.Cordoned, c.Cordoned) && slices.Equal(b.Features, c.Features)
}

func (c *Controller) equal(d *Controller) bool {
	return c == d || c.ID == d.ID && c.Directory == d.Directory && c.Incarnation == d.Incarnation &&
		slices.Equal(c.Endpoints, d.Endpoints) && slices.Equal(c.Features, d.Features)
}

func (d *Delta) topic(name string) {
	// The records of one topic stand together: this keeps the list short.
	if n := len(d.Topics); n == 0 || d.Topics[n-1] != name {
		d.Topics = append(d.Topics, name)
	}
}

func (d *Delta) broker(id int32)     { d.Brokers = append(d.Brokers, id) }
func (d *Delta) controller(id int32) { d.Controllers = append(d.Controllers, id) }
func (d *Delta) config(r Resource)   { d.Configs = append(d.Configs, r) }
func (d *Delta) feature(name string) { d.Features = append(d.Features, name) }

func (d *Delta) sort() {
	d.Topics = sorted(d.Topics, cmp.Compare[string])
	d.Brokers = sorted(d.Brokers, cmp.Compare[int32])
	d.Controllers = sorted(d.Controllers, cmp.Compare[int32])
	d.Configs = sorted(d.Configs, compareResource)
	d.Features = sorted(d.Features, cmp.Compare[string])
}

func sorted[T comparable](s []T, compare func(a, b T) int) []T {
	slices.SortFunc(s, compare)
	return slices.Compact(s)
}
