// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHostedAgainstScan changes an indexed image at random, keeps every version,
// and compares what the index says of each broker with a look at all partitions:
// of the old versions too, for an edit must not reach into them.
func TestHostedAgainstScan(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		w := &hostWorld{rng: rand.New(rand.NewPCG(seed, 77)), brokers: 6}
		if seed%3 == 0 {
			w.brokers = 2 // then leaves overflow
		}
		var kept []*Image
		img := Empty().Indexed()
		for range 40 {
			next, _, err := img.With(w.change(img))
			if err != nil {
				t.Fatal(seed, err)
			}
			if img = next; w.rng.IntN(8) == 0 {
				img.hosted = nil // as after a load
				img = img.Indexed()
			}
			kept = append(kept, img)
		}
		for k := len(kept) - 1; k >= 0; k -= 1 + w.rng.IntN(6) {
			w.check(t, kept[k])
		}
	}
}

type hostWorld struct {
	rng     *rand.Rand
	brokers int32
	topics  byte
}

// change makes up some records that fit img.
func (w *hostWorld) change(img *Image) (rs []Record) {
	names := map[string]UUID{}
	sizes := map[string]int32{}
	for t := range img.Topics() {
		names[t.Name], sizes[t.Name] = t.ID, int32(t.Len())
	}
	for range 1 + w.rng.IntN(5) {
		name := fmt.Sprintf("t%02d", w.rng.IntN(100))
		u, there := names[name]
		switch {
		case !there:
			w.topics++
			u = UUID{0: 1, 1: byte(len(name)), 14: w.topics, 15: byte(w.rng.IntN(256))}
			names[name], sizes[name] = u, 0
			rs = append(rs, TopicRecord{name, u})
			fallthrough
		case w.rng.IntN(3) > 0:
			for range w.rng.IntN(100) {
				k := w.rng.Int32N(sizes[name] + 1)
				if w.rng.IntN(2) == 0 {
					k = sizes[name]
				}
				sizes[name] = max(sizes[name], k+1)
				rs = append(rs, w.partition(u, k))
			}
		default:
			rs = append(rs, RemoveTopicRecord{u})
			delete(names, name)
			delete(sizes, name)
		}
	}
	return rs
}

func (w *hostWorld) partition(topic UUID, k int32) Record {
	var replicas []int32
	for b := range w.brokers {
		if w.rng.IntN(2) == 0 || b == w.brokers-1 && replicas == nil {
			replicas = append(replicas, b)
		}
	}
	leader := replicas[w.rng.IntN(len(replicas))]
	if w.rng.IntN(5) == 0 {
		leader = NoLeader
	}
	r := part(topic, k, leader, replicas...)
	for i := range r.Dirs {
		r.Dirs[i][0] = byte(w.rng.IntN(3))
	}
	return r
}

func (w *hostWorld) check(t *testing.T, img *Image) {
	t.Helper()
	type one struct {
		topic string
		index int32
	}
	list := func(img *Image, of ...int32) (all []one) {
		for topic, k := range img.Hosted(of...) {
			all = append(all, one{topic.Name, k})
		}
		return all
	}
	bare := *img
	bare.hosted = nil
	asks := [][]int32{{}, {99}, {NoLeader}, {NotPreferred}, {NotPreferred, 1}, {0, 1}, {NoLeader, 1, 1}}
	for b := range w.brokers {
		asks = append(asks, []int32{b})
	}
	for _, ask := range asks {
		if got, want := list(img, ask...), list(&bare, ask...); !slices.Equal(got, want) {
			t.Fatalf("of %v the index says %d partitions, a scan %d", ask, len(got), len(want))
		}
	}
	dirs := map[int32][]UUID{}
	for topic := range img.Topics() {
		for _, p := range topic.Partitions() {
			for i, r := range p.Replicas {
				if !slices.Contains(dirs[r], p.Dirs[i]) {
					dirs[r] = append(dirs[r], p.Dirs[i])
				}
			}
		}
	}
	for b, got := range img.Hosts() {
		slices.SortFunc(got, compareUUID)
		slices.SortFunc(dirs[b], compareUUID)
		if !slices.Equal(got, dirs[b]) {
			t.Fatalf("broker %d uses %x, not %x", b, dirs[b], got)
		}
		delete(dirs, b)
	}
	if len(dirs) > 0 {
		t.Fatalf("left out: %v", dirs)
	}
	for b, x := range img.hosted.shelves.all() {
		first := true
		var below span
		for key, l := range x.leaves.all() {
			if first != (key == span{}) || len(l.marks) > leafLen {
				t.Fatalf("broker %d: leaf %v of %d marks", b, key, len(l.marks))
			}
			for _, m := range l.marks {
				if compareSpan(m.span, key) < 0 || !first && compareSpan(below, m.span) >= 0 || m.set == 0 {
					t.Fatalf("broker %d: %v after %v in leaf %v", b, m.span, below, key)
				}
				below, first = m.span, false
			}
			first = false
		}
	}
}

// TestHostedStops: whoever has seen enough stops.
func TestHostedStops(t *testing.T) {
	t.Parallel()
	img, _ := mustWith(t, Empty(), TopicRecord{"a", id(1)}, part(id(1), 0, 1, 1, 2), part(id(1), 1, 2, 2, 1))
	for _, img := range []*Image{img, img.Indexed()} {
		n := 0
		for range img.Hosted(1, 2) {
			n++
			break
		}
		if n != 1 {
			t.Fatal(n)
		}
	}
}
