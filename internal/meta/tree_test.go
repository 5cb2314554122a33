// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTreeAgainstMap edits a tree and a Go map side by side, keeps every
// version, and compares all of them at the end: an edit that changed a shared
// node would show in an older version.
func TestTreeAgainstMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tr, model := newTree[int, int](cmp.Compare[int]), map[int]int{}
		type version struct {
			tree  tree[int, int]
			model map[int]int
		}
		var kept []version
		for range 40 {
			o := &owner{}
			for range rng.IntN(12) {
				k, v := rng.IntN(60), rng.Int()
				if rng.IntN(3) == 0 {
					tr = tr.del(o, k)
					delete(model, k)
				} else {
					tr = tr.put(o, k, v)
					model[k] = v
				}
			}
			kept = append(kept, version{tr, maps.Clone(model)})
		}
		for i, v := range kept {
			checkTree(t, v.tree.root)
			if v.tree.len() != len(v.model) {
				t.Fatalf("seed %d version %d: %d keys, want %d", seed, i, v.tree.len(), len(v.model))
			}
			if got := maps.Collect(v.tree.all()); !maps.Equal(got, v.model) {
				t.Fatalf("seed %d version %d: %v, want %v", seed, i, got, v.model)
			}
			from := rng.IntN(60)
			var keys []int
			for k := range v.tree.from(from) {
				keys = append(keys, k)
			}
			want := slices.DeleteFunc(slices.Sorted(maps.Keys(v.model)), func(k int) bool { return k < from })
			if !slices.Equal(keys, want) {
				t.Fatalf("seed %d version %d: from %d: %v, want %v", seed, i, from, keys, want)
			}
		}
	}
}

func checkTree[K, V any](t *testing.T, n *node[K, V]) {
	t.Helper()
	if n == nil {
		return
	}
	l, r := n.left.count()+1, n.right.count()+1
	if n.size != l+r-1 || l > treeDelta*r || r > treeDelta*l {
		t.Fatalf("node of size %d with weights %d and %d", n.size, l, r)
	}
	checkTree(t, n.left)
	checkTree(t, n.right)
}
