// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"slices"
)

// state is the cluster while it is being rearranged. Brokers are numbered by
// their place in ids; all sums are kept up to date by replace and lead.
type state struct {
	ids     []int32 // sorted; those that partitions name are all there
	rack    []string
	takes   []bool // may be given replicas
	gives   []bool // must hand over what it has
	racks   int    // of brokers that take
	total   []tally
	parts   []*part
	topics  []*topic
	problem []Problem
}

// tally is what one broker holds, of a topic or altogether.
type tally struct {
	replicas, leaders int
	bytes             int64
}

type topic struct {
	name  string
	parts []*part
	by    []tally
}

type part struct {
	*Partition
	topic *topic
	at    []int // brokers, by number; the first leads
}

func has[T comparable](list []T, x T) bool { return slices.Contains(list, x) }

func newState(c Cluster) *state {
	s := &state{}
	brokers := map[int32]Broker{}
	for _, b := range c.Brokers {
		brokers[b.ID] = b
		s.ids = append(s.ids, b.ID)
	}
	for i := range c.Partitions {
		for _, r := range c.Partitions[i].Replicas {
			if _, ok := brokers[r]; !ok { // nobody knows it any more
				brokers[r] = Broker{ID: r, Leaving: true}
				s.ids = append(s.ids, r)
			}
		}
	}
	slices.Sort(s.ids)
	number := make(map[int32]int, len(s.ids))
	var racks []string
	for i, id := range s.ids {
		b := brokers[id]
		number[id] = i
		s.rack = append(s.rack, b.Rack)
		s.takes, s.gives = append(s.takes, !b.Down && !b.Leaving), append(s.gives, b.Leaving)
		if s.takes[i] && !has(racks, b.Rack) {
			racks = append(racks, b.Rack)
		}
	}
	s.racks = len(racks)
	s.total = make([]tally, len(s.ids))
	order := make([]int, len(c.Partitions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := &c.Partitions[a], &c.Partitions[b]
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Index, y.Index))
	})
	for _, i := range order {
		p := &part{Partition: &c.Partitions[i]}
		if n := len(s.topics); n == 0 || s.topics[n-1].name != p.Topic {
			s.topics = append(s.topics, &topic{name: p.Topic, by: make([]tally, len(s.ids))})
		}
		p.topic = s.topics[len(s.topics)-1]
		p.topic.parts = append(p.topic.parts, p)
		s.parts = append(s.parts, p)
		for k, r := range p.Replicas {
			p.at = append(p.at, number[r])
			s.count(p, number[r], k == 0, 1)
		}
	}
	return s
}

// count adds p to what b holds (sign 1) or takes it away (-1).
func (s *state) count(p *part, b int, leads bool, sign int) {
	for _, t := range []*tally{&s.total[b], &p.topic.by[b]} {
		t.replicas += sign
		t.bytes += int64(sign) * p.Bytes
		if leads {
			t.leaders += sign
		}
	}
}

// replace puts broker b in the place of the k-th replica of p.
func (s *state) replace(p *part, k, b int) {
	s.count(p, p.at[k], k == 0, -1)
	p.at[k] = b
	s.count(p, b, k == 0, 1)
}

// lead makes broker b, a replica of p, the first.
func (s *state) lead(p *part, b int) {
	k := slices.Index(p.at, b)
	for _, t := range [][]tally{s.total, p.topic.by} {
		t[p.at[0]].leaders--
		t[b].leaders++
	}
	p.at[0], p.at[k] = p.at[k], p.at[0]
}

// spread is on how many racks p would be with broker b as its k-th replica.
func (s *state) spread(p *part, k, b int) int {
	n := 0
	for i := range p.at {
		first := true
		for j := range i {
			if s.rackOf(p, j, k, b) == s.rackOf(p, i, k, b) {
				first = false
				break
			}
		}
		if first {
			n++
		}
	}
	return n
}

func (s *state) rackOf(p *part, i, k, b int) string {
	if i == k {
		return s.rack[b]
	}
	return s.rack[p.at[i]]
}

// may tells whether b may take the k-th place of p: it is alive, new to p, and
// p is on no fewer racks then.
func (s *state) may(p *part, k, b int) bool {
	return !p.Busy && s.takes[b] && !has(p.at, b) && s.spread(p, k, b) >= s.spread(p, k, p.at[k])
}

func (s *state) shares() (out []Share) {
	for i, id := range s.ids {
		t := s.total[i]
		out = append(out, Share{id, t.replicas, t.leaders, t.bytes})
	}
	return out
}

func (s *state) moves() (out []Move) {
	for _, p := range s.parts {
		to := make([]int32, len(p.at))
		fresh := int64(0)
		for k, b := range p.at {
			if to[k] = s.ids[b]; !has(p.Replicas, to[k]) {
				fresh++
			}
		}
		if !slices.Equal(to, p.Replicas) {
			out = append(out, Move{p.Topic, p.Index, p.Replicas, to, fresh * p.Bytes})
		}
	}
	return out
}
