// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"cmp"
	"fmt"
	"slices"
)

// maxRounds is far above what the steps were seen to need.
const maxRounds = 20

// Make plans.
func Make(c Cluster, o Options) Plan {
	s := newState(c)
	before := s.shares()
	if !o.LeadersOnly {
		for _, p := range s.parts {
			s.repair(p)
		}
	}
	if !o.LeadersOnly && !o.RepairOnly {
		// A later step may open a way that racks had closed to an earlier one.
		for moved, round := true, 0; moved && round < maxRounds; round++ {
			moved = false
			for _, t := range s.topics {
				moved = s.even(t.parts, func(b int) int { return t.by[b].replicas }, func(*part, int, int) bool { return true }) || moved
			}
			moved = s.even(s.parts, func(b int) int { return s.total[b].replicas }, keepsTopic) || moved
			moved = s.evenBytes(cmp.Or(o.Slack, 10)) || moved
		}
	}
	s.evenLeaders()
	return Plan{s.moves(), before, s.shares(), s.problem}
}

// keepsTopic tells whether p's topic is no less even with a replica on `to` in
// place of `from`.
func keepsTopic(p *part, from, to int) bool {
	return p.topic.by[from].replicas > p.topic.by[to].replicas
}

// repair moves p off brokers that leave, and to racks that it lacks.
func (s *state) repair(p *part) {
	if p.Busy {
		return
	}
	for k, b := range p.at {
		if !s.gives[b] {
			continue
		}
		had := s.spread(p, k, b)
		to, spread := s.home(p, k)
		if to < 0 {
			s.problem = append(s.problem, Problem{p.Topic, p.Index, fmt.Sprintf("no broker is left to take the replica of broker %d", s.ids[b])})
			continue
		}
		if spread < had && len(s.rack) > 0 {
			s.problem = append(s.problem, Problem{p.Topic, p.Index, fmt.Sprintf("is on %d racks instead of %d when broker %d leaves: nobody else of rack %q is there", spread, had, s.ids[b], s.rack[b])})
		}
		s.replace(p, k, to)
	}
	// One replica less where two share a rack, as long as that helps. The last
	// go first: the leader stays where it is.
	for k := len(p.at) - 1; k >= 0; k-- {
		now := s.spread(p, k, p.at[k])
		if now >= min(len(p.at), s.racks) {
			return
		}
		if to, spread := s.home(p, k); to >= 0 && spread > now {
			s.replace(p, k, to)
		}
	}
}

// home is the best broker for the k-th place of p: on most racks, then with
// the fewest of the topic, the fewest in all, the fewest bytes. -1: none.
func (s *state) home(p *part, k int) (best, spread int) {
	best = -1
	for b := range s.ids {
		if !s.takes[b] || has(p.at, b) {
			continue
		}
		n := s.spread(p, k, b)
		if best < 0 || cmp.Or(cmp.Compare(spread, n), s.compare(p.topic, b, best)) < 0 {
			best, spread = b, n
		}
	}
	return best, spread
}

// compare tells which of two brokers has less.
func (s *state) compare(t *topic, a, b int) int {
	return cmp.Or(cmp.Compare(t.by[a].replicas, t.by[b].replicas), cmp.Compare(s.total[a].replicas, s.total[b].replicas),
		cmp.Compare(s.total[a].bytes, s.total[b].bytes))
}

// even moves replicas of parts from those brokers that have many to those that
// have few, by the measure of, until no two that could exchange one differ by
// two or more. Each move makes the sum of squares smaller, so it ends.
func (s *state) even(parts []*part, of func(b int) int, ok func(p *part, from, to int) bool) (moved bool) {
	var brokers []int
	on := make([][]*part, len(s.ids)) // may hold parts that have left
	for b := range s.ids {
		if s.takes[b] {
			brokers = append(brokers, b)
		}
	}
	for _, p := range parts {
		for _, b := range p.at {
			on[b] = append(on[b], p)
		}
	}
	for s.evenOnce(brokers, on, of, ok) {
		moved = true
	}
	return moved
}

// evenOnce moves one replica between the two brokers furthest apart that can.
func (s *state) evenOnce(brokers []int, on [][]*part, of func(b int) int, ok func(p *part, from, to int) bool) bool {
	order := slices.Clone(brokers)
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(s.total[a].replicas, s.total[b].replicas), cmp.Compare(s.total[a].bytes, s.total[b].bytes))
	})
	for i := len(order) - 1; i > 0; i-- {
		from := order[i]
		for _, to := range order[:i] {
			if of(from)-of(to) < 2 {
				break
			}
			if p, k := s.pick(on[from], from, to, ok); p != nil {
				s.replace(p, k, to)
				on[to] = append(on[to], p)
				on[from] = slices.DeleteFunc(on[from], func(q *part) bool { return q == p })
				return true
			}
		}
	}
	return false
}

// maxPicked bounds how many that may go are compared, so that a move costs no
// more where brokers hold a hundred thousand.
const maxPicked = 256

// pick chooses what goes: a follower before a leader, of a topic that is most
// uneven between the two, and what brings the bytes nearest.
func (s *state) pick(parts []*part, from, to int, ok func(p *part, from, to int) bool) (best *part, at int) {
	gap := s.total[from].bytes - s.total[to].bytes
	var score [3]int64
	seen := 0
	for _, p := range parts {
		k := slices.Index(p.at, from)
		if k < 0 || !ok(p, from, to) || !s.may(p, k, to) {
			continue
		}
		moved := [3]int64{-int64(p.topic.by[from].replicas - p.topic.by[to].replicas), 0, abs(gap - 2*p.Bytes)}
		if k == 0 {
			moved[1] = 1
		}
		if best == nil || slices.Compare(moved[:], score[:]) < 0 {
			best, at, score = p, k, moved
		}
		if seen++; seen == maxPicked {
			break
		}
	}
	return best, at
}

func abs(n int64) int64 { return max(n, -n) }

// evenBytes exchanges a large partition for a small one between the brokers
// with most and least bytes while one is more than slack percent above the
// mean and the exchange makes up a twentieth of the mean or more.
func (s *state) evenBytes(slack int) (moved bool) {
	var brokers []int
	var sum int64
	for b := range s.ids {
		if s.takes[b] {
			brokers, sum = append(brokers, b), sum+s.total[b].bytes
		}
	}
	if len(brokers) < 2 || sum == 0 {
		return false
	}
	mean := sum / int64(len(brokers))
	for {
		slices.SortStableFunc(brokers, func(a, b int) int { return cmp.Compare(s.total[a].bytes, s.total[b].bytes) })
		from := brokers[len(brokers)-1]
		if s.total[from].bytes <= mean+mean*int64(slack)/100 {
			return moved
		}
		done := false
		for _, to := range brokers[:len(brokers)-1] {
			if done = s.exchange(from, to, mean/20); done {
				break
			}
		}
		if !done {
			return moved
		}
		moved = true
	}
}

// exchange swaps the pair that brings two brokers' bytes nearest, if the gap
// shrinks by least or more.
func (s *state) exchange(from, to int, least int64) bool {
	gap := s.total[from].bytes - s.total[to].bytes
	if gap <= least {
		return false
	}
	type choice struct {
		p, q   *part
		kp, kq int
	}
	var best choice
	left := gap - max(least, 1)
	var here, there []choice
	for _, p := range s.parts {
		kf, kt := slices.Index(p.at, from), slices.Index(p.at, to)
		switch {
		case kf >= 0 && kt < 0 && s.may(p, kf, to):
			here = append(here, choice{p: p, kp: kf})
		case kt >= 0 && kf < 0 && s.may(p, kt, from):
			there = append(there, choice{q: p, kq: kt})
		}
	}
	// The best partner of p is the q nearest to p - gap/2: sorted, it is found
	// by halves. Among neighbours a few are tried for the topics' sake.
	slices.SortStableFunc(there, func(a, b choice) int { return cmp.Compare(a.q.Bytes, b.q.Bytes) })
	for _, h := range here {
		i, _ := slices.BinarySearchFunc(there, h.p.Bytes-gap/2, func(c choice, want int64) int { return cmp.Compare(c.q.Bytes, want) })
		for j := max(0, i-8); j < min(len(there), i+8); j++ {
			q := there[j]
			shift := h.p.Bytes - q.q.Bytes
			if shift <= 0 || abs(gap-2*shift) > left || !fair(h.p, q.q, from, to) {
				continue
			}
			if rest := abs(gap - 2*shift); best.p == nil || rest < left {
				best, left = choice{h.p, q.q, h.kp, q.kq}, rest
			}
		}
	}
	if best.p == nil {
		return false
	}
	s.replace(best.p, best.kp, to)
	s.replace(best.q, best.kq, from)
	return true
}

// fair tells whether exchanging p for q leaves their topics no less even.
func fair(p, q *part, from, to int) bool {
	return p.topic == q.topic || keepsTopic(p, from, to) && keepsTopic(q, to, from)
}
