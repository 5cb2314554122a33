// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Check returns everything in the history that must not be, in the order of
// partitions and kinds. It does not change h.
func Check(h *History) []Anomaly {
	c := &checker{h: h, logs: map[Partition]*log{}}
	c.collect()
	for _, p := range c.partitions() {
		l := c.logs[p]
		c.records(p, l)
		c.sends(p, l)
		c.polls(p, l)
		c.ends(p, l)
		c.commits(p, l)
	}
	return c.found
}

// log is what is known of one partition.
type log struct {
	sends   []*Send // in the order in which they began
	polls   []*Poll
	assigns []*Assign
	commits []*Commit
	looks   []*Look

	at     map[int64]string   // the record at an offset, by polls and acknowledgements
	polled map[string][]int64 // where a value was read
	known  []int64            // the offsets in at, sorted
	read   int64              // the highest offset that was read, -1: none
}

type checker struct {
	h     *History
	logs  map[Partition]*log
	found []Anomaly
}

func (c *checker) log(p Partition) *log {
	l := c.logs[p]
	if l == nil {
		l = &log{at: map[int64]string{}, polled: map[string][]int64{}, read: -1}
		c.logs[p] = l
	}
	return l
}

func (c *checker) collect() {
	for i := range c.h.Sends {
		l := c.log(c.h.Sends[i].Partition)
		l.sends = append(l.sends, &c.h.Sends[i])
	}
	for i := range c.h.Polls {
		l := c.log(c.h.Polls[i].Partition)
		l.polls = append(l.polls, &c.h.Polls[i])
	}
	for i := range c.h.Assigns {
		l := c.log(c.h.Assigns[i].Partition)
		l.assigns = append(l.assigns, &c.h.Assigns[i])
	}
	for i := range c.h.Commits {
		l := c.log(c.h.Commits[i].Partition)
		l.commits = append(l.commits, &c.h.Commits[i])
	}
	for i := range c.h.Looks {
		l := c.log(c.h.Looks[i].Partition)
		l.looks = append(l.looks, &c.h.Looks[i])
	}
	for _, l := range c.logs {
		slices.SortStableFunc(l.sends, func(a, b *Send) int { return cmp.Compare(a.Began, b.Began) })
		slices.SortStableFunc(l.polls, func(a, b *Poll) int { return cmp.Compare(a.At, b.At) })
		slices.SortStableFunc(l.looks, func(a, b *Look) int { return cmp.Compare(a.Began, b.Began) })
	}
}

func (c *checker) partitions() []Partition {
	return slices.SortedFunc(maps.Keys(c.logs), func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
	})
}

func (c *checker) report(k Kind, p Partition, format string, args ...any) {
	c.found = append(c.found, Anomaly{k, p, fmt.Sprintf(format, args...)})
}

// records finds inconsistent offsets, phantoms, duplicates and losses.
func (c *checker) records(p Partition, l *log) {
	sent := make(map[string]*Send, len(l.sends))
	for _, s := range l.sends {
		sent[s.Value] = s
	}
	clash := map[int64]bool{}
	put := func(o int64, v, how string) {
		if other, ok := l.at[o]; ok && other != v && !clash[o] {
			clash[o] = true
			c.report(Inconsistent, p, "offset %d holds %q, and %s there is %q", o, other, how, v)
			return
		}
		l.at[o] = v
	}
	for _, q := range l.polls {
		for _, r := range q.Records {
			put(r.Offset, r.Value, "read")
			if !slices.Contains(l.polled[r.Value], r.Offset) {
				l.polled[r.Value] = append(l.polled[r.Value], r.Offset)
			}
			l.read = max(l.read, r.Offset)
		}
	}
	for _, s := range l.sends {
		if s.Outcome == Done && s.Offset >= 0 {
			put(s.Offset, s.Value, "acknowledged")
		}
	}
	l.known = slices.Sorted(maps.Keys(l.at))

	for _, v := range slices.Sorted(maps.Keys(l.polled)) {
		s := sent[v]
		switch {
		case s == nil:
			c.report(Phantom, p, "%q at %v was never sent", v, l.polled[v])
		case s.Outcome == Rejected:
			c.report(Phantom, p, "%q at %v was refused to producer %d", v, l.polled[v], s.Process)
		case s.Once && len(l.polled[v]) > 1:
			slices.Sort(l.polled[v])
			c.report(Duplicate, p, "%q of producer %d is at %v", v, s.Process, l.polled[v])
		}
	}
	for _, s := range l.sends {
		switch {
		case s.Outcome != Done || len(l.polled[s.Value]) > 0:
		case s.Offset < l.read:
			c.report(Lost, p, "%q, acknowledged at %d, is not there; the log was read up to %d", s.Value, s.Offset, l.read)
		default:
			c.report(Unseen, p, "%q, acknowledged at %d; the log was read up to %d", s.Value, s.Offset, l.read)
		}
	}
}

// sends finds records that stand before what they came after.
func (c *checker) sends(p Partition, l *log) {
	type last struct {
		*Send
		offset int64
	}
	own := map[int]last{}
	var done []*Send // acknowledged, by end
	for _, s := range l.sends {
		if s.Outcome == Done && s.Offset >= 0 {
			done = append(done, s)
		}
	}
	slices.SortFunc(done, func(a, b *Send) int { return cmp.Compare(a.Ended, b.Ended) })
	var before *Send // the highest offset among those that ended before s began
	for _, s := range l.sends {
		for len(done) > 0 && done[0].Ended < s.Began {
			if before == nil || done[0].Offset > before.Offset {
				before = done[0]
			}
			done = done[1:]
		}
		if s.Outcome != Done || s.Offset < 0 {
			continue
		}
		if before != nil && s.Once && s.Offset <= before.Offset && before.Process != s.Process {
			c.report(Overtaken, p, "%q at %d was sent after %q was acknowledged at %d", s.Value, s.Offset, before.Value, before.Offset)
		}
		if !s.Once {
			continue
		}
		if prev, ok := own[s.Process]; ok && s.Offset <= prev.offset {
			c.report(NonmonotonicSend, p, "producer %d: %q at %d was sent after %q at %d", s.Process, s.Value, s.Offset, prev.Value, prev.offset)
		}
		own[s.Process] = last{s, s.Offset}
	}
}

// polls follows each reader's position.
func (c *checker) polls(p Partition, l *log) {
	next := map[int]int64{} // a reader's next offset; none: it begins anew
	from := map[int]*Assign{}
	assigns := l.assigns
	for _, q := range l.polls {
		for len(assigns) > 0 && assigns[0].At < q.At {
			delete(next, assigns[0].Process)
			from[assigns[0].Process] = assigns[0]
			assigns = assigns[1:]
		}
		for _, r := range q.Records {
			at, ok := next[q.Process]
			switch {
			case ok && r.Offset < at:
				c.report(NonmonotonicPoll, p, "reader %d was at %d and got %d", q.Process, at, r.Offset)
			case ok:
				c.skipped(p, l, q.Process, at, r.Offset)
			case from[q.Process] != nil && from[q.Process].Group != "":
				c.start(p, l, from[q.Process], q, r.Offset)
			}
			next[q.Process] = r.Offset + 1
		}
	}
}

func (c *checker) skipped(p Partition, l *log, reader int, from, upTo int64) {
	i, _ := slices.BinarySearch(l.known, from)
	if i < len(l.known) && l.known[i] < upTo {
		c.report(SkippedPoll, p, "reader %d went from %d to %d, over %q at %d", reader, from, upTo, l.at[l.known[i]], l.known[i])
	}
}

// start judges where a member of a group begins to read: not before what was
// acknowledged as committed before it was assigned, and not behind anything
// that somebody tried to commit.
func (c *checker) start(p Partition, l *log, a *Assign, q *Poll, offset int64) {
	var sure, tried int64
	for _, m := range l.commits {
		if m.Group != a.Group {
			continue
		}
		if m.Outcome == Done && m.Ended < a.At {
			sure = max(sure, m.Offset)
		}
		if m.Began < q.At && m.Outcome != Rejected {
			tried = max(tried, m.Offset)
		}
	}
	if offset < sure {
		c.report(LostCommit, p, "group %s: reader %d begins at %d, committed was %d", a.Group, q.Process, offset, sure)
	}
	c.skipped(p, l, q.Process, tried, offset)
}

// ends judges end offsets that somebody asked for: they stand above what the
// same leader, or one before it, has shown to others.
//
// A leader that was deposed and has not heard of it yet answers from what it
// knows, as Kafka's does; so what was seen of a later epoch says nothing about
// its answer. Of an acknowledgement nobody knows the epoch: that such records
// are there is what lost and unseen are about.
func (c *checker) ends(p Partition, l *log) {
	type mark struct {
		at, offset int64
		epoch      int32 // marks hold for leaders of this epoch and above
		what       string
	}
	var marks []mark
	for _, q := range l.polls {
		for i, r := range q.Records {
			// The last of its epoch: whoever leads in a later one holds it.
			if i == len(q.Records)-1 || q.Records[i+1].Epoch != r.Epoch {
				marks = append(marks, mark{q.At, r.Offset + 1, r.Epoch + 1, fmt.Sprintf("reader %d got %d", q.Process, r.Offset)})
			}
		}
	}
	for _, e := range l.looks {
		if e.Group == "" {
			marks = append(marks, mark{e.Ended, e.Offset, e.Epoch, fmt.Sprintf("the end was %d", e.Offset)})
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	high := map[int32]mark{} // the highest by epoch; there are few
	for _, e := range l.looks {
		if e.Group != "" {
			continue
		}
		for ; len(marks) > 0 && marks[0].at < e.Began; marks = marks[1:] {
			if m := marks[0]; m.offset > high[m.epoch].offset {
				high[m.epoch] = m
			}
		}
		var most mark
		for epoch, m := range high {
			if epoch <= e.Epoch && m.offset > most.offset {
				most = m
			}
		}
		if e.Offset < most.offset {
			c.report(FallenEnd, p, "the end is %d in epoch %d after %s", e.Offset, e.Epoch, most.what)
		}
	}
}

// commits judges a group's offsets that somebody asked for. A coordinator that
// was deposed and has not heard of it answers from what it knows, and its answer
// has no epoch; so one that is too low is held against the group only if no
// later one is high enough. Members are judged by where they begin, see start.
func (c *checker) commits(p Partition, l *log) {
	for i, look := range l.looks {
		if look.Group == "" {
			continue
		}
		for _, m := range l.commits {
			if m.Group == look.Group && m.Outcome == Done && m.Ended < look.Began && look.Offset < m.Offset &&
				!slices.ContainsFunc(l.looks[i:], func(k *Look) bool { return k.Group == m.Group && k.Offset >= m.Offset }) {
				c.report(LostCommit, p, "group %s is at %d, committed was %d", look.Group, look.Offset, m.Offset)
				break
			}
		}
	}
}
