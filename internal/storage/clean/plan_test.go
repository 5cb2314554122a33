// SPDX-License-Identifier: Apache-2.0

package clean

// Goal: what is cleaned, and in which groups, is what Kafka would clean.
// Method: tables.

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"gregor/internal/storage"
)

// at is a log of segments of 100 offsets and 1000 bytes; the last is active.
func at(n int, edit func(i int, s *storage.SegmentInfo)) []storage.SegmentInfo {
	var out []storage.SegmentInfo
	for i := range n {
		s := storage.SegmentInfo{Base: int64(i) * 100, Next: int64(i+1) * 100, Bytes: 1000, MaxTimestamp: int64(i) * 1000, Active: i == n-1}
		if edit != nil {
			edit(i, &s)
		}
		out = append(out, s)
	}
	return out
}

func TestAssess(t *testing.T) {
	t.Parallel()
	damaged := func(at int) func(int, *storage.SegmentInfo) {
		return func(i int, s *storage.SegmentInfo) { s.HasDamage = i == at }
	}
	cases := []struct {
		name string
		s    situation
		want Dirt
	}{
		{"never cleaned", situation{checkpoint: -1, stable: 500, segments: at(5, nil)}, Dirt{From: 0, UpTo: 400, DirtyBytes: 4000}},
		{"half clean", situation{checkpoint: 200, stable: 500, segments: at(5, nil)}, Dirt{From: 200, UpTo: 400, CleanBytes: 2000, DirtyBytes: 2000}},
		{"all clean", situation{checkpoint: 400, stable: 500, segments: at(5, nil)}, Dirt{From: 400, UpTo: 400, CleanBytes: 4000}},
		{"within a segment", situation{checkpoint: 250, stable: 500, segments: at(5, nil)}, Dirt{From: 250, UpTo: 400, CleanBytes: 3000, DirtyBytes: 2000}},
		{"open transaction", situation{checkpoint: 100, stable: 350, segments: at(5, nil)}, Dirt{From: 100, UpTo: 300, CleanBytes: 1000, DirtyBytes: 2000}},
		{"transaction at an edge", situation{checkpoint: 100, stable: 300, segments: at(5, nil)}, Dirt{From: 100, UpTo: 300, CleanBytes: 1000, DirtyBytes: 2000}},
		{"nothing stable", situation{checkpoint: 100, stable: 50, segments: at(5, nil)}, Dirt{From: 100, UpTo: 100}},
		{"checkpoint below the start", situation{checkpoint: 100, start: 200, stable: 500, segments: at(5, nil)[2:]}, Dirt{From: 200, UpTo: 400, Reset: true, DirtyBytes: 2000}},
		{"checkpoint above the end", situation{checkpoint: 900, stable: 500, segments: at(5, nil)}, Dirt{From: 0, UpTo: 400, Reset: true, DirtyBytes: 4000}},
		{"young", situation{checkpoint: 100, stable: 500, segments: at(5, nil), config: storage.LogConfig{MinCompactionLag: 2500 * time.Millisecond}},
			Dirt{From: 100, UpTo: 300, CleanBytes: 1000, DirtyBytes: 2000}},
		{"damage in the dirty part", situation{checkpoint: 100, stable: 500, segments: at(5, damaged(2))}, Dirt{From: 100, UpTo: 200, CleanBytes: 1000, DirtyBytes: 1000}},
		{"damage in the clean part", situation{checkpoint: 200, stable: 500, segments: at(5, damaged(1))}, Dirt{From: 200, UpTo: 400, CleanBytes: 2000, DirtyBytes: 2000}},
		{"late", situation{checkpoint: 100, stable: 500, segments: at(5, nil), config: storage.LogConfig{MaxCompactionLag: 3 * time.Second}},
			Dirt{From: 100, UpTo: 400, CleanBytes: 1000, DirtyBytes: 3000, Late: time.Second}},
	}
	for _, c := range cases {
		c.s.end, c.s.now = 500, time.UnixMilli(5000)
		c.s.firstTimestamp = func(base int64) int64 { return base * 10 }
		if got := assess(c.s); got != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	cfg := storage.LogConfig{SegmentBytes: 2500, IndexBytes: 1 << 20, IndexInterval: 100}
	cases := []struct {
		name     string
		segments []storage.SegmentInfo
		upTo     int64
		config   func(*storage.LogConfig)
		want     [][]int64
	}{
		{"by size", at(6, nil), 500, nil, [][]int64{{0, 100}, {200, 300}, {400}}},
		{"up to within a segment", at(6, nil), 201, nil, [][]int64{{0, 100}, {200}}},
		{"nothing", at(6, nil), 0, nil, nil},
		{"one too large", at(4, func(i int, s *storage.SegmentInfo) { s.Bytes = int64(i%2) * 9000 }), 300, nil, [][]int64{{0}, {100}, {200}}},
		{"by index", at(6, nil), 500, func(c *storage.LogConfig) { c.IndexBytes = 150 }, [][]int64{{0}, {100}, {200}, {300}, {400}}},
		{"by offsets", at(4, func(i int, s *storage.SegmentInfo) {
			if i == 1 {
				s.Next = math.MaxInt32 + 2
			}
		}), math.MaxInt64, nil, [][]int64{{0}, {100, 200}}},
		{"damage", at(6, func(i int, s *storage.SegmentInfo) { s.HasDamage = i == 1 }), 500, nil, [][]int64{{0}, {200, 300}, {400}}},
	}
	for _, c := range cases {
		conf := cfg
		if c.config != nil {
			c.config(&conf)
		}
		var got [][]int64
		for _, g := range group(c.segments, c.upTo, conf) {
			var bases []int64
			for _, s := range g {
				bases = append(bases, s.Base)
			}
			got = append(got, bases)
		}
		if !slices.EqualFunc(got, c.want, slices.Equal[[]int64]) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWorthwhile(t *testing.T) {
	t.Parallel()
	half := storage.LogConfig{MinDirtyRatio: 0.5}
	for d, want := range map[Dirt]bool{
		{CleanBytes: 10, DirtyBytes: 10}:         false,
		{CleanBytes: 10, DirtyBytes: 11}:         true,
		{CleanBytes: 10, DirtyBytes: 1, Late: 1}: true,
		{CleanBytes: 10, DirtyBytes: 0, Late: 1}: false,
		{}:                                       false,
	} {
		if got := d.worthwhile(half); got != want {
			t.Errorf("%+v: %v", d, got)
		}
	}
}

func TestKeyMap(t *testing.T) {
	t.Parallel()
	for _, memory := range []int{0, 100, 5000, 24 * 5000} {
		m := newKeyMap(memory, 0.9)
		for round := range 3 {
			m.clear()
			n := 0
			for ; n < 100_000; n++ {
				if !m.put([]byte(fmt.Sprint("key", round, n)), int64(n)) {
					break
				}
			}
			if n != m.limit() || n < 1 {
				t.Fatalf("%d bytes: %d keys, limit %d", memory, n, m.limit())
			}
			if !m.put([]byte(fmt.Sprint("key", round, 0)), int64(n)) {
				t.Fatal("a full map refuses a key it has")
			}
			for i := range n {
				want := int64(i)
				if i == 0 {
					want = int64(n)
				}
				if got := m.last([]byte(fmt.Sprint("key", round, i))); got != want {
					t.Fatalf("key %d at %d", i, got)
				}
			}
			if m.last([]byte("other")) != -1 || m.last(nil) != -1 || m.latest != int64(n) {
				t.Fatal("found what was not put")
			}
			if len(m.slots) > m.most {
				t.Fatalf("%d slots of %d", len(m.slots), m.most)
			}
		}
	}
}

func BenchmarkKeyMapPut(b *testing.B) {
	m := newKeyMap(128<<20, 0.9)
	key := make([]byte, 16)
	b.ReportAllocs()
	for i := range b.N {
		key[0], key[1], key[2] = byte(i), byte(i>>8), byte(i>>16)
		m.put(key, int64(i))
	}
}
