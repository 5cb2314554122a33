// SPDX-License-Identifier: Apache-2.0

package vfs

import (
	"maps"
	"slices"
)

// Kill ends the process that uses m but not the machine: locks are free,
// every open handle is dead, and what was written is still there, synced or
// not.
func (m *Mem) Kill() {
	m.world.Lock()
	defer m.world.Unlock()
	m.ns.Lock()
	defer m.ns.Unlock()
	m.life.Add(1)
	clear(m.locks)
}

// CrashClone returns what a disk could hold after a power cut at this moment.
// What was synced is there. Every other change is kept, dropped or, if it is
// a write, torn: cut at a byte from either end, or with some of its sectors
// missing. Changes of names are kept or dropped whole, each on its own. rng
// draws uniformly from [0, n); the same draws give the same clone. The clone
// is durable as it stands and shares nothing with m, which goes on.
//
// So that the two simple disks are also tried often, a draw at the start may
// decide to drop everything, or to keep everything.
func (m *Mem) CrashClone(rng func(n int64) int64) *Mem {
	m.world.Lock()
	defer m.world.Unlock()
	m.ns.Lock()
	defer m.ns.Unlock()
	c := &crash{rng: rng, mood: mood(rng(8)), names: map[*memDir]map[string]memNode{}}
	c.collect(m.root)
	c.settleNames()
	clone := NewMem()
	clone.now = m.now
	clone.root = c.rebuild(clone, m.root)
	return clone
}

type mood int64

const (
	dropAll mood = iota
	keepAll
	drawEach // and above
)

// crash is one power cut in the making.
type crash struct {
	rng   func(int64) int64
	mood  mood
	names map[*memDir]map[string]memNode // by directory, what its names become
	ops   []*nameOp                      // all that was pending
}

// collect finds every directory that may come out of the crash: those with a
// durable name and those with a name that is not yet durable.
func (c *crash) collect(d *memDir) {
	if c.names[d] != nil {
		return
	}
	c.names[d] = maps.Clone(d.durable)
	c.ops = append(c.ops, d.pending...)
	for _, names := range []map[string]memNode{d.durable, d.seen} {
		for _, n := range names {
			if sub, ok := n.(*memDir); ok {
				c.collect(sub)
			}
		}
	}
	for _, op := range d.pending {
		if sub, ok := op.node.(*memDir); ok {
			c.collect(sub) // made, then moved or removed
		}
	}
}

type place struct {
	dir  *memDir
	name string
}

// settleNames draws for every pending change of names, in the order in which
// they were made, and applies those kept. A node never has two names: when
// its first move is lost and its second is not, the second takes it from
// where it is.
func (c *crash) settleNames() {
	slices.SortFunc(c.ops, (*nameOp).compare)
	c.ops = slices.Compact(c.ops) // a rename across directories stands in both
	if len(c.ops) == 0 || c.mood == dropAll {
		return
	}
	at := map[memNode]place{}
	for d, names := range c.names {
		for name, n := range names {
			at[n] = place{d, name}
		}
	}
	for _, op := range c.ops {
		if c.mood != keepAll && c.rng(2) == 0 {
			continue
		}
		if op.to != nil {
			if p, ok := at[op.node]; ok && c.names[p.dir][p.name] == op.node {
				delete(c.names[p.dir], p.name)
			}
			at[op.node] = place{op.to, op.toName}
		}
		op.apply(func(d *memDir) map[string]memNode { return c.names[d] })
	}
}

// rebuild makes the clone's tree below d. Each directory has one name, so the
// walk ends.
func (c *crash) rebuild(m *Mem, d *memDir) *memDir {
	names := c.names[d]
	out := newMemDir()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch n := names[name].(type) {
		case *memDir:
			sub := c.rebuild(m, n)
			sub.parent, sub.name = out, name
			out.seen[name] = sub
		case *memFile:
			n.mu.RLock()
			f := &memFile{seen: c.content(n), clean: true, mod: n.mod, fs: m}
			n.mu.RUnlock()
			m.used.Add(int64(len(f.seen)))
			out.seen[name] = f
		}
	}
	out.durable = maps.Clone(out.seen)
	return out
}

// content draws what is left of a file.
func (c *crash) content(f *memFile) []byte {
	switch {
	case f.clean || c.mood == keepAll:
		return slices.Clone(f.seen)
	case c.mood == dropAll:
		return slices.Clone(f.durable)
	}
	b := slices.Grow(slices.Clone(f.durable), max(0, len(f.seen)-len(f.durable)))
	for _, op := range f.pending {
		switch c.rng(4) {
		case 0:
		case 1, 2:
			b = op.apply(b)
		case 3:
			b = c.tear(b, op)
		}
	}
	return b
}

// sectorSize is what a disk writes whole.
const sectorSize = 512

// tear applies a part of op.
func (c *crash) tear(b []byte, op dataOp) []byte {
	if op.truncate {
		return b // has no parts
	}
	n := int64(len(op.data))
	cut := c.rng(n + 1)
	switch c.rng(3) {
	case 0: // the start
		return dataOp{off: op.off, data: op.data[:cut]}.applyPart(b)
	case 1: // the end; a hole before it reads as zeros
		return dataOp{off: op.off + cut, data: op.data[cut:]}.applyPart(b)
	}
	for at := int64(0); at < n; {
		next := min(n, at+sectorSize-(op.off+at)%sectorSize)
		if c.rng(2) == 0 {
			b = dataOp{off: op.off + at, data: op.data[at:next]}.applyPart(b)
		}
		at = next
	}
	return b
}

// applyPart is apply, but nothing written does not make the file longer.
func (op dataOp) applyPart(b []byte) []byte {
	if len(op.data) == 0 {
		return b
	}
	return op.apply(b)
}
