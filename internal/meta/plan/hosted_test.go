// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"gregor/internal/meta"
)

// TestDecisionsByIndex makes up clusters, sound and unsound, and has the same
// decided three times: with the index from brokers to partitions, without it,
// and by looking at every partition as the rules are written.
func TestDecisionsByIndex(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 5))
		bare := madeUp(t, rng)
		indexed := bare.Indexed()
		silent := rng.Int32N(8)
		e := env()
		e.Heard = func(id int32) bool { return id != silent }
		decisions := map[string]func(img *meta.Image) any{
			"settle": func(img *meta.Image) any { rs, _ := Settle(img, 10_000, e); return rs },
			"prefer": func(img *meta.Image) any { rs, _ := PreferLeaders(img, 10_000, e); return rs },
			"fence":  func(img *meta.Image) any { return FenceBrokers(img, []int32{3, 1, 3, 99}, e) },
			"return": func(img *meta.Image) any {
				rs, _, err := Heartbeat(img, Beat{Broker: 2, Epoch: 12, Applied: 100}, true, e)
				return []any{rs, err}
			},
			"stop": func(img *meta.Image) any {
				rs, p, err := Heartbeat(img, Beat{Broker: 4, Epoch: 14, ShutDown: true}, true, e)
				return []any{rs, p, err}
			},
			"forget": func(img *meta.Image) any { rs, err := UnregisterBroker(img, 5, e); return []any{rs, err} },
			"register": func(img *meta.Image) any {
				rs, n, err := RegisterBroker(img, Registration{ID: 2, ClusterID: "c", Incarnation: dir(200), Dirs: []meta.UUID{dir(2)}}, e)
				return []any{rs, n, err}
			},
		}
		for name, decide := range decisions {
			if a, b := decide(bare), decide(indexed); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d, %s: without index %v, with it %v", seed, name, a, b)
			}
		}
		s := &scene{img: bare, env: &e}
		unwell := func(p *meta.Partition) bool {
			for _, r := range p.ISR {
				if !s.mayLead(p, r) {
					return true
				}
			}
			return p.Leader == meta.NoLeader
		}
		if got, want := decisions["settle"](indexed), everyPartition(s, online, unwell); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: settled %v, not %v", seed, got, want)
		}
		displaced := func(p *meta.Partition) bool { return p.Leader != p.Replicas[0] }
		if got, want := decisions["prefer"](indexed), everyPartition(s, preferred, displaced); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: preferred %v, not %v", seed, got, want)
		}
	}
}

// everyPartition settles those of all partitions that concerns tells of.
func everyPartition(s *scene, kind election, concerns func(*meta.Partition) bool) (records []meta.Record) {
	for t := range s.img.Topics() {
		for i, p := range t.Partitions() {
			if next, changed := s.settle(t, i, p, *p, kind); changed && concerns(p) {
				records = append(records, meta.PartitionRecord{Topic: t.ID, Index: i, Partition: next})
			}
		}
	}
	return records
}

// madeUp has six brokers of two directories in various states, and partitions
// in various states on them and on one broker that is not registered.
func madeUp(t *testing.T, rng *rand.Rand) *meta.Image {
	img := cluster(t, 6)
	var rs []meta.Record
	for b := range img.Brokers() {
		c := *b
		c.Fenced, c.Stopping = rng.IntN(5) == 0, rng.IntN(6) == 0
		if rng.IntN(2) == 0 { // the second directory is online too
			c.Dirs = append(c.Dirs[:1:1], dir(byte(b.ID+50)))
		}
		rs = append(rs, meta.BrokerRecord{Broker: c})
	}
	for n := range byte(4) {
		id := meta.UUID{0: 9, 15: n}
		rs = append(rs, meta.TopicRecord{Name: "made-up-" + string('a'+rune(n)), ID: id})
		for i := range rng.Int32N(100) {
			rs = append(rs, meta.PartitionRecord{Topic: id, Index: i, Partition: madeUpPartition(rng)})
		}
	}
	return with(t, img, rs...)
}

func madeUpPartition(rng *rand.Rand) (p meta.Partition) {
	p.Leader, p.LeaderEpoch, p.PartitionEpoch = meta.NoLeader, rng.Int32N(9), rng.Int32N(9)
	for _, r := range rng.Perm(7)[:1+rng.IntN(3)] {
		b := int32(r + 1)
		p.Replicas = append(p.Replicas, b)
		p.Dirs = append(p.Dirs, [...]meta.UUID{dir(byte(b)), dir(byte(b + 50)), meta.DirUnassigned, meta.DirLost}[rng.IntN(8)%4])
		switch rng.IntN(5) {
		case 0:
			p.ELR = append(p.ELR, b)
		case 1:
		default:
			p.ISR = append(p.ISR, b)
		}
	}
	if len(p.ISR) > 0 && rng.IntN(6) > 0 {
		p.Leader = p.ISR[rng.IntN(len(p.ISR))]
	}
	return p
}
