// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3"

	"gregor/internal/seeds"
)

func TestHaste(t *testing.T) {
	t.Parallel()
	asks := func(h haste, ticks int) (at []int) {
		for i := 1; i <= ticks; i++ {
			if h.tick(7, raft.None) {
				at = append(at, i)
			}
		}
		return at
	}
	// Nobody asks at the same tick, and everybody gives up.
	seen := map[int]uint64{}
	for _, own := range []uint64{10, 20, 40, 50} {
		at := asks(hasten(7, own, 30, []uint64{50, 10, 30, 20, 40}), 1000)
		if len(at) != hasteTurn*hasteRounds {
			t.Errorf("%d asks at %v", own, at)
		}
		for _, tick := range at {
			if other, ok := seen[tick]; ok {
				t.Errorf("%d and %d ask at tick %d", own, other, tick)
			}
			seen[tick] = own
		}
	}
	if seen[1] != 10 || seen[2] != 10 || seen[3] != 20 {
		t.Errorf("%v", seen)
	}
	if at := asks(hasten(7, 60, 30, []uint64{10, 20, 30}), 100); at != nil {
		t.Errorf("who has no vote asks at %v", at)
	}
	h := hasten(7, 20, 30, []uint64{10, 20, 30})
	if h.tick(7, raft.None) || h.tick(7, 10) || asks(h, 100) != nil {
		t.Error("goes on though a leader is known")
	}
	h = hasten(7, 20, 30, []uint64{10, 20, 30})
	if h.tick(8, raft.None) || asks(h, 100) != nil {
		t.Error("goes on in another term")
	}
}

// Goal: a leader whose process is gone for sure is replaced within some ticks,
// whoever hears of it first, and not at all when the news is false. Method: three
// Nodes in a bubble of fake time; the seed decides who is told what and when.
//
// Invariants:
//   - all are told within a tick: a leader within ticks, where one was told
//     falsely before or not;
//   - some are not told: a leader all the same, by Raft's own clock;
//   - one is told falsely: term and leader stay.
func TestSimGone(t *testing.T) {
	t.Parallel()
	for seed := range seeds.All(t, 20, 100) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 21))
			tr := newTrio(t)
			old, _ := tr.leader()
			if err := old.set(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			tr.everywhere("one")
			id, tick := old.node.core.id, 50*time.Millisecond
			var others []*member
			for _, m := range tr.members {
				if m != old {
					others = append(others, m)
				}
			}
			rng.Shuffle(2, func(i, j int) { others[i], others[j] = others[j], others[i] })
			if rng.IntN(2) == 0 {
				term := old.node.Status().Term
				_ = others[0].node.Gone(id)
				time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
				for _, m := range tr.members {
					if s := m.node.Status(); s.Term != term || s.Leading != (m == old) {
						t.Errorf("seed %d: false news: %+v", seed, s)
					}
				}
				time.Sleep(5 * tick)
			}
			all := rng.IntN(3) > 0
			if err := old.close(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			time.Sleep(time.Duration(rng.Int64N(int64(tick / 2))))
			_ = others[0].node.Gone(id)
			if all {
				time.Sleep(time.Duration(rng.Int64N(int64(tick / 2))))
				_ = others[1].node.Gone(id)
			}
			fresh, _ := tr.leader(old)
			took := time.Since(began)
			// The first asks within two ticks, the second two later; an
			// election is some messages of a millisecond.
			if limit := 5 * tick; all && took > limit || took > 3*time.Second {
				t.Errorf("seed %d: a leader after %v, all told: %v", seed, took, all)
			}
			if err := fresh.set(t.Context(), "two"); err != nil {
				t.Error(err)
			}
			if err := old.open(); err != nil {
				t.Fatal(err)
			}
			tr.net.mu.Lock()
			tr.net.nodes[id] = old.node
			tr.net.mu.Unlock()
			tr.everywhere("two")
			tr.close()
			time.Sleep(time.Second) // what is on its way arrives, at nobody
		})
	}
}
