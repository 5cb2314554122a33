// SPDX-License-Identifier: Apache-2.0

package balance

import "slices"

// evenLeaders orders replicas so that first ones are spread evenly, each topic
// first and then all. Leadership is handed from broker to broker along a chain
// where no single partition is shared by the two at its ends:
//
//	3 leads too much, 1 too little, and they share nothing:
//	    3 --p--> 2 --q--> 1      2 leads p instead of 3, 1 leads q instead of 2
func (s *state) evenLeaders() {
	for _, t := range s.topics {
		s.evenLeads(t.parts, t.by, func(*part, int, int) bool { return true })
	}
	s.evenLeads(s.parts, s.total, func(p *part, from, to int) bool {
		return p.topic.by[from].leaders > p.topic.by[to].leaders
	})
}

func (s *state) evenLeads(parts []*part, by []tally, ok func(p *part, from, to int) bool) {
	var free []*part
	for _, p := range parts {
		if !p.Busy {
			free = append(free, p)
		}
	}
	for {
		// hop[a][b]: a partition that a leads and b could.
		hop := make([][]*part, len(s.ids))
		for a := range hop {
			hop[a] = make([]*part, len(s.ids))
		}
		for _, p := range free {
			for _, b := range p.at[1:] {
				if a := p.at[0]; hop[a][b] == nil && s.takes[b] && ok(p, a, b) {
					hop[a][b] = p
				}
			}
		}
		if !s.handOn(hop, by) {
			return
		}
	}
}

// handOn shifts one leadership from a broker to the one with the fewest that
// can be reached, if that has two or more fewer. Each hop of the chain but its
// ends leaves the broker between with as many as before.
func (s *state) handOn(hop [][]*part, by []tally) bool {
	var order []int
	for b := range s.ids {
		if s.takes[b] || by[b].leaders > 0 {
			order = append(order, b)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return by[b].leaders - by[a].leaders })
	for _, from := range order {
		came := make([]int, len(s.ids))
		for i := range came {
			came[i] = -1
		}
		came[from] = from
		best := -1
		for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
			a := queue[0]
			for b := range s.ids {
				if came[b] >= 0 || hop[a][b] == nil {
					continue
				}
				came[b], queue = a, append(queue, b)
				if best < 0 || by[b].leaders < by[best].leaders {
					best = b
				}
			}
		}
		if best < 0 || by[from].leaders-by[best].leaders < 2 {
			continue
		}
		for b := best; b != from; b = came[b] {
			s.lead(hop[came[b]][b], b)
		}
		return true
	}
	return false
}
