// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// random is a cluster of up to eight brokers on up to three racks, with
// replicas anywhere.
func random(r *rand.Rand) Cluster {
	var c Cluster
	racks := 1 + r.IntN(3)
	for i := range 2 + r.IntN(7) {
		b := Broker{ID: int32(i*3 + 1), Rack: fmt.Sprint(r.IntN(racks))}
		switch r.IntN(10) {
		case 0:
			b.Down = true
		case 1:
			b.Leaving = true
		}
		c.Brokers = append(c.Brokers, b)
	}
	for t := range 1 + r.IntN(5) {
		factor := 1 + r.IntN(min(3, len(c.Brokers)))
		for i := range 1 + r.IntN(20) {
			p := Partition{Topic: fmt.Sprint("t", t), Index: int32(i), Bytes: int64(r.IntN(1000)) * int64(r.IntN(4)), Busy: r.IntN(15) == 0}
			for _, b := range r.Perm(len(c.Brokers))[:factor] {
				p.Replicas = append(p.Replicas, c.Brokers[b].ID)
			}
			if r.IntN(50) == 0 {
				p.Replicas[0] = 999 // unregistered
			}
			c.Partitions = append(c.Partitions, p)
		}
	}
	return c
}

// after is the cluster that a plan leads to.
func after(t *testing.T, c Cluster, plan Plan) Cluster {
	t.Helper()
	next := c
	next.Partitions = slices.Clone(c.Partitions)
	for _, m := range plan.Moves {
		i := slices.IndexFunc(next.Partitions, func(p Partition) bool { return p.Topic == m.Topic && p.Index == m.Index })
		if !slices.Equal(next.Partitions[i].Replicas, m.From) {
			t.Fatalf("%+v is not from where %s-%d is", m, m.Topic, m.Index)
		}
		next.Partitions[i].Replicas = m.To
	}
	return next
}

func rackCount(c Cluster, replicas []int32) int {
	var racks []string
	for _, r := range replicas {
		rack := ""
		for _, b := range c.Brokers {
			if b.ID == r {
				rack = b.Rack
			}
		}
		if !slices.Contains(racks, rack) {
			racks = append(racks, rack)
		}
	}
	return len(racks)
}

// TestInvariants holds the package's promises on random clusters.
func TestInvariants(t *testing.T) {
	t.Parallel()
	for seed := range uint64(800) {
		c := random(rand.New(rand.NewPCG(seed, 7)))
		for _, o := range []Options{{}, {RepairOnly: true}, {LeadersOnly: true}, {Slack: 50}} {
			plan := Make(c, o)
			brokers := map[int32]Broker{}
			for _, b := range c.Brokers {
				brokers[b.ID] = b
			}
			for _, m := range plan.Moves {
				bad := ""
				for i, r := range m.To {
					b, known := brokers[r]
					if slices.Contains(m.To[:i], r) {
						bad = "twice"
					}
					if !slices.Contains(m.From, r) && (!known || b.Down || b.Leaving) {
						bad = "a broker that takes nothing"
					}
				}
				i := slices.IndexFunc(c.Partitions, func(p Partition) bool { return p.Topic == m.Topic && p.Index == m.Index })
				told := slices.ContainsFunc(plan.Problems, func(p Problem) bool { return p.Topic == m.Topic && p.Index == m.Index })
				switch {
				case len(m.To) != len(m.From):
					bad = "another number of replicas"
				case c.Partitions[i].Busy:
					bad = "a busy partition"
				case rackCount(c, m.To) < rackCount(c, m.From) && !told:
					bad = "fewer racks"
				case o.LeadersOnly && m.Copies() > 0:
					bad = "copies"
				case m.Bytes != int64(m.Copies())*c.Partitions[i].Bytes:
					bad = "bytes"
				}
				if bad != "" {
					t.Fatalf("seed %d %+v: %s: %+v", seed, o, bad, m)
				}
			}
			next := after(t, c, plan)
			for _, p := range next.Partitions {
				for _, r := range p.Replicas {
					b, known := brokers[r]
					told := slices.ContainsFunc(plan.Problems, func(x Problem) bool { return x.Topic == p.Topic && x.Index == p.Index })
					if (!known || b.Leaving) && !o.LeadersOnly && !p.Busy && !told {
						t.Fatalf("seed %d %+v: %s-%d stays on %d", seed, o, p.Topic, p.Index, r)
					}
				}
			}
			if again := Make(next, o); len(again.Moves) > 0 {
				t.Fatalf("seed %d %+v: a plan on the outcome of a plan has %d moves: %+v", seed, o, len(again.Moves), again.Moves[0])
			}
			// A broker that nobody knows is told of while it is named.
			told := slices.DeleteFunc(plan.After, func(s Share) bool { return s == Share{Broker: 999} })
			if got := Make(next, o).Before; !slices.Equal(got, told) {
				t.Fatalf("seed %d: shares told %v, are %v", seed, told, got)
			}
		}
	}
}

// TestEven: without racks, leaving brokers or busy partitions, each topic and
// the total differ by one at most, and so do the leaders.
func TestEven(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		c := random(rand.New(rand.NewPCG(seed, 9)))
		for i := range c.Brokers {
			c.Brokers[i].Rack, c.Brokers[i].Down, c.Brokers[i].Leaving = "", false, false
		}
		for i := range c.Partitions {
			c.Partitions[i].Busy = false
		}
		plan := Make(c, Options{})
		next := newState(after(t, c, plan))
		known := func(of func(b int) int) (least, most int) {
			least = 1 << 30
			for b := range next.ids {
				if next.takes[b] {
					least, most = min(least, of(b)), max(most, of(b))
				}
			}
			return least, most
		}
		if a, b := known(func(b int) int { return next.total[b].replicas }); b-a > 1 {
			t.Fatalf("seed %d: from %d to %d replicas", seed, a, b)
		}
		for _, x := range next.topics {
			if a, b := known(func(b int) int { return x.by[b].replicas }); b-a > 1 {
				t.Fatalf("seed %d: %s from %d to %d replicas", seed, x.name, a, b)
			}
		}
	}
}

// even3 is n partitions of three replicas on brokers 1 to k, in balance.
func even3(k, n int, racks int) Cluster {
	var c Cluster
	for i := range k {
		c.Brokers = append(c.Brokers, Broker{ID: int32(i + 1), Rack: fmt.Sprint(i % racks)})
	}
	for i := range n {
		p := Partition{Topic: fmt.Sprint("t", i%7), Index: int32(i / 7), Bytes: 100}
		for j := range 3 {
			p.Replicas = append(p.Replicas, int32((i+j)%k+1))
		}
		c.Partitions = append(c.Partitions, p)
	}
	plan := Make(c, Options{})
	for _, m := range plan.Moves {
		for i := range c.Partitions {
			if c.Partitions[i].Topic == m.Topic && c.Partitions[i].Index == m.Index {
				c.Partitions[i].Replicas = m.To
			}
		}
	}
	return c
}

// TestNewBroker: a new broker gets its share, and nothing moves but to it.
func TestNewBroker(t *testing.T) {
	t.Parallel()
	c := even3(3, 700, 3)
	c.Brokers = append(c.Brokers, Broker{ID: 4, Rack: "0"})
	plan := Make(c, Options{})
	copies, bytes := plan.Copies()
	got := plan.After[3]
	if copies != got.Replicas || bytes != int64(copies)*100 {
		t.Errorf("%d copies of %d bytes for a share of %+v", copies, bytes, got)
	}
	// Rack 0 has two brokers now, so each of them has half of its 700.
	if got.Replicas != 350 || plan.After[0].Replicas != 350 {
		t.Errorf("shares %+v", plan.After)
	}
	for _, s := range plan.After {
		if s.Leaders < 174 || s.Leaders > 176 {
			t.Errorf("leaders %+v", plan.After)
		}
	}
	c = even3(3, 700, 1)
	c.Brokers = append(c.Brokers, Broker{ID: 4, Rack: "0"})
	plan = Make(c, Options{})
	if copies, _ := plan.Copies(); copies != plan.After[3].Replicas || copies != 525 {
		t.Errorf("one rack: %d copies, %+v", copies, plan.After)
	}
}

// TestDrain: a leaving broker hands over all it has and nothing else moves.
func TestDrain(t *testing.T) {
	t.Parallel()
	c := even3(4, 700, 1)
	c.Brokers[1].Leaving = true
	plan := Make(c, Options{RepairOnly: true})
	copies, _ := plan.Copies()
	if copies != plan.Before[1].Replicas || plan.After[1] != (Share{Broker: 2}) || len(plan.Problems) > 0 {
		t.Errorf("%d copies, before %+v, after %+v", copies, plan.Before, plan.After)
	}
	if s := plan.After; s[0].Replicas-s[2].Replicas > 1 || s[0].Replicas-s[3].Replicas > 1 || s[0].Leaders < 232 || s[0].Leaders > 235 {
		t.Errorf("after %+v", s)
	}
	c = even3(3, 7, 1)
	c.Brokers[1].Leaving = true
	if plan := Make(c, Options{RepairOnly: true}); len(plan.Problems) != 7 || plan.After[1].Replicas != 7 {
		t.Errorf("nowhere to go: %+v", plan.Problems)
	}
	c = even3(6, 70, 3)
	c.Brokers[0].Leaving, c.Brokers[3].Leaving = true, true // all of rack 0
	plan = Make(c, Options{RepairOnly: true})
	if len(plan.Problems) != 70 || plan.After[0].Replicas+plan.After[3].Replicas != 0 {
		t.Errorf("a rack leaves: %d problems, %+v", len(plan.Problems), plan.After)
	}
}

// TestBytes: large partitions that met on one broker are parted.
func TestBytes(t *testing.T) {
	t.Parallel()
	c := Cluster{Brokers: []Broker{{ID: 1}, {ID: 2}}}
	for i := range int32(20) {
		p := Partition{Topic: "t", Index: i, Replicas: []int32{1 + i%2}, Bytes: 10}
		if i%2 == 0 && i < 8 {
			p.Bytes = 1000
		}
		c.Partitions = append(c.Partitions, p)
	}
	plan := Make(c, Options{})
	if a, b := plan.After[0], plan.After[1]; a.Bytes != b.Bytes || a.Replicas != 10 || len(plan.Moves) != 4 {
		t.Errorf("%d moves to %+v", len(plan.Moves), plan.After)
	}
}

// BenchmarkNewBroker is the plan for 10,000 partitions of three replicas when
// a fourth broker comes.
func BenchmarkNewBroker(b *testing.B) {
	c := even3(3, 10_000, 1)
	c.Brokers = append(c.Brokers, Broker{ID: 4, Rack: "0"})
	for b.Loop() {
		plan := Make(c, Options{})
		n, _ := plan.Copies()
		b.ReportMetric(float64(n), "copies")
	}
}
