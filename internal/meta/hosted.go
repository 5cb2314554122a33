// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
)

// hosted is the index from brokers to the partitions that have a replica there,
// from NoLeader to those that nobody leads, and from NotPreferred to those that
// another than the first replica leads, or nobody. Whoever decides on brokers
// (meta/plan, at the active controller) asks it; others do without, for it costs
// about 100 bytes a partition. Indexed makes it, and With keeps it.
//
//	broker ─► shelf ─► leaves, in the order of spans ─► marks: a span of 64
//	                                                    partitions of one topic,
//	                                                    and a bit for each that
//	                                                    is here
//
// Leaves hold at most leafLen marks, so changing one copies some 2 KB. The key
// of a leaf is at or below its first mark and above all of the leaf before; the
// first leaf's is the zero span.
type hosted struct{ shelves tree[int32, *shelf] }

// span is a chunk of a topic, see Topic.
type span struct {
	topic string
	chunk int32
}

type marks struct {
	span
	set uint64
}

type leaf struct {
	marks []marks
	owner *owner
}

type shelf struct {
	leaves tree[span, *leaf]
	dirs   []dirUse // never changed
	owner  *owner
}

// dirUse counts the replicas in one of a broker's directories.
type dirUse struct {
	dir UUID
	n   int
}

// NotPreferred stands for a broker in Hosted: the partitions that are not led by
// their first replica.
const NotPreferred int32 = -2

const leafLen = 64

// A set has a bit for each partition of a chunk.
const _ = uint(64 - chunkSize)

func compareSpan(a, b span) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.chunk, b.chunk))
}

func compareMarks(m marks, s span) int { return compareSpan(m.span, s) }

// Indexed returns the Image, at the same version, with an index from brokers to
// partitions (see Hosted), which those made from it With records have too. It
// walks all partitions once.
func (i *Image) Indexed() *Image {
	if i.hosted != nil {
		return i
	}
	type list struct {
		marks []marks
		dirs  []dirUse
	}
	lists := map[int32]*list{}
	of := func(b int32) *list {
		l := lists[b]
		if l == nil {
			l = &list{}
			lists[b] = l
		}
		return l
	}
	for t := range i.Topics() {
		for k, p := range t.Partitions() {
			s, bit := place(t.Name, k)
			for b, dir := range p.indexedUnder() {
				l := of(b)
				if n := len(l.marks); n == 0 || l.marks[n-1].chunk != s.chunk || l.marks[n-1].topic != s.topic {
					l.marks = append(l.marks, marks{span: s})
				}
				l.marks[len(l.marks)-1].set |= bit
				l.dirs = useDir(l.dirs, dir, 1)
			}
		}
	}
	o := &owner{}
	h := &hosted{newTree[int32, *shelf](cmp.Compare[int32])}
	for b, l := range lists {
		x := &shelf{newTree[span, *leaf](compareSpan), l.dirs, o}
		key := span{}
		for part := range slices.Chunk(l.marks, leafLen) {
			x.leaves = x.leaves.put(o, key, &leaf{slices.Clone(part), o})
			if next := x.leaves.len() * leafLen; next < len(l.marks) {
				key = l.marks[next].span
			}
		}
		h.shelves = h.shelves.put(o, b, x)
	}
	next := *i
	next.hosted = h
	return &next
}

func place(topic string, index int32) (span, uint64) {
	return span{topic, index / chunkSize}, 1 << (index % chunkSize)
}

// indexedUnder yields the shelves that a partition stands on, with the directory
// that it has there.
func (p *Partition) indexedUnder() iter.Seq2[int32, UUID] {
	return func(yield func(int32, UUID) bool) {
		if p == nil {
			return
		}
		for k, r := range p.Replicas {
			if !yield(r, p.Dirs[k]) {
				return
			}
		}
		if p.Leader == NoLeader && !yield(NoLeader, UUID{}) {
			return
		}
		if p.Leader != p.Replicas[0] {
			yield(NotPreferred, UUID{})
		}
	}
}

func (p *Partition) isUnder(broker int32) bool {
	switch {
	case p == nil:
		return false
	case broker == NotPreferred:
		return p.Leader != p.Replicas[0]
	case broker == NoLeader:
		return p.Leader == NoLeader
	}
	return p.HasReplica(broker)
}

// useDir adds to the count of a directory, in place.
func useDir(uses []dirUse, dir UUID, n int) []dirUse {
	for k := range uses {
		if uses[k].dir == dir {
			if uses[k].n += n; uses[k].n == 0 {
				return slices.Delete(uses, k, k+1)
			}
			return uses
		}
	}
	return append(uses, dirUse{dir, n})
}

// Hosts yields the brokers that have replicas, and the directories in use there,
// in no order. Without an index it looks at every partition.
func (i *Image) Hosts() iter.Seq2[int32, []UUID] {
	h := i.Indexed().hosted
	return func(yield func(int32, []UUID) bool) {
		for b, x := range h.shelves.all() {
			if b < 0 {
				continue
			}
			dirs := make([]UUID, 0, len(x.dirs))
			for _, u := range x.dirs {
				dirs = append(dirs, u.dir)
			}
			if !yield(b, dirs) {
				return
			}
		}
	}
}

// Hosted yields the partitions that have a replica on one of brokers (NoLeader,
// NotPreferred: those that are led by nobody, or by another than their first
// replica), each once, by topic and index. Without an index it looks
// at every partition of the cluster.
func (i *Image) Hosted(brokers ...int32) iter.Seq2[*Topic, int32] {
	if i.hosted == nil {
		return i.scan(brokers)
	}
	return func(yield func(*Topic, int32) bool) {
		for m := range i.hosted.on(brokers) {
			t := i.Topic(m.topic)
			for set := m.set; set != 0; set &= set - 1 {
				if !yield(t, m.chunk*chunkSize+int32(bits.TrailingZeros64(set))) {
					return
				}
			}
		}
	}
}

func (i *Image) scan(brokers []int32) iter.Seq2[*Topic, int32] {
	return func(yield func(*Topic, int32) bool) {
		for t := range i.Topics() {
			for k, p := range t.Partitions() {
				if slices.ContainsFunc(brokers, p.isUnder) && !yield(t, k) {
					return
				}
			}
		}
	}
}

// on yields the marks of some brokers, in order, those of one span as one.
func (h *hosted) on(brokers []int32) iter.Seq[marks] {
	if len(brokers) == 1 {
		return h.of(brokers[0])
	}
	var all []marks
	for _, b := range brokers {
		for m := range h.of(b) {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(a, b marks) int { return compareSpan(a.span, b.span) })
	merged := all[:0]
	for _, m := range all {
		if n := len(merged); n > 0 && merged[n-1].span == m.span {
			merged[n-1].set |= m.set
			continue
		}
		merged = append(merged, m)
	}
	return slices.Values(merged)
}

func (h *hosted) of(broker int32) iter.Seq[marks] {
	return func(yield func(marks) bool) {
		x, _ := h.shelves.get(broker)
		if x == nil {
			return
		}
		for _, l := range x.leaves.all() {
			for _, m := range l.marks {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// rehost takes note of a partition that was old and is now p; nil: there is
// none.
func (e *edit) rehost(topic string, index int32, old, p *Partition) {
	if e.img.hosted == nil {
		return
	}
	s, bit := place(topic, index)
	for b, dir := range old.indexedUnder() {
		if !p.isUnder(b) {
			x := e.shelf(b)
			x.mark(e.owner, s, bit, false)
			x.dirs = useDir(slices.Clone(x.dirs), dir, -1)
			e.shelve(b, x)
		}
	}
	for b, dir := range p.indexedUnder() {
		switch {
		case !old.isUnder(b):
			x := e.shelf(b)
			x.mark(e.owner, s, bit, true)
			x.dirs = useDir(slices.Clone(x.dirs), dir, 1)
			e.shelve(b, x)
		case b >= 0 && old.Dir(b) != dir:
			x := e.shelf(b)
			x.dirs = useDir(useDir(slices.Clone(x.dirs), old.Dir(b), -1), dir, 1)
			e.shelve(b, x)
		}
	}
}

// shelf is a broker's, to be changed and given to shelve.
func (e *edit) shelf(broker int32) *shelf {
	x, _ := e.img.hosted.shelves.get(broker)
	switch {
	case x == nil:
		return &shelf{leaves: newTree[span, *leaf](compareSpan), owner: e.owner}
	case x.owner != e.owner:
		return &shelf{x.leaves, x.dirs, e.owner}
	}
	return x
}

func (e *edit) shelve(broker int32, x *shelf) {
	shelves := e.img.hosted.shelves
	if x.leaves.len() == 0 {
		shelves = shelves.del(e.owner, broker)
	} else {
		shelves = shelves.put(e.owner, broker, x)
	}
	e.img.hosted = &hosted{shelves}
}

// mark sets or clears a bit; o owns the shelf.
func (x *shelf) mark(o *owner, s span, bit uint64, on bool) {
	key, l, ok := x.leaves.floor(s)
	switch {
	case !ok:
		key, l = span{}, &leaf{owner: o}
		x.leaves = x.leaves.put(o, key, l)
	case l.owner != o:
		l = &leaf{slices.Clone(l.marks), o}
		x.leaves = x.leaves.put(o, key, l)
	}
	at, found := slices.BinarySearchFunc(l.marks, s, compareMarks)
	switch {
	case on && found:
		l.marks[at].set |= bit
	case on:
		l.marks = slices.Insert(l.marks, at, marks{s, bit})
		if n := len(l.marks); n > leafLen {
			// Names mostly come in order: then leaves stay full.
			cut := n / 2
			if at == n-1 {
				cut = at
			}
			x.leaves = x.leaves.put(o, l.marks[cut].span, &leaf{slices.Clone(l.marks[cut:]), o})
			l.marks = slices.Clone(l.marks[:cut]) // without what Insert had to spare
		}
	case found:
		if l.marks[at].set &^= bit; l.marks[at].set == 0 {
			l.marks = slices.Delete(l.marks, at, at+1)
		}
		if len(l.marks) == 0 && (key != span{} || x.leaves.len() == 1) {
			x.leaves = x.leaves.del(o, key)
		}
	}
}
