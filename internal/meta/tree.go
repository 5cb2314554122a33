// SPDX-License-Identifier: Apache-2.0

package meta

import "iter"

// tree is a persistent ordered map: a weight-balanced binary search tree whose
// edits copy the path from the root and share the rest.
//
// Worked example: putting a key into a tree of 1,000,000 copies about 20 nodes;
// the old tree still answers as before. Many edits made for one new Image share
// an owner, and a node that the owner made itself is changed in place, so that
// loading a snapshot does not copy each path again.
//
// Weights: for each node, size(left)+1 and size(right)+1 differ at most by the
// factor delta (Adams' trees with the proven parameters 3 and 2).
type tree[K, V any] struct {
	root *node[K, V]
	cmp  func(a, b K) int
}

type node[K, V any] struct {
	left, right *node[K, V]
	key         K
	val         V
	size        int
	owner       *owner
}

// owner marks the nodes made during one batch of edits. It is not empty, for
// two empty allocations may share an address.
type owner struct{ _ byte }

const (
	treeDelta = 3
	treeGamma = 2
)

func newTree[K, V any](cmp func(a, b K) int) tree[K, V] { return tree[K, V]{cmp: cmp} }

func (t tree[K, V]) len() int { return t.root.count() }

func (n *node[K, V]) count() int {
	if n == nil {
		return 0
	}
	return n.size
}

func (t tree[K, V]) get(k K) (v V, ok bool) {
	for n := t.root; n != nil; {
		switch c := t.cmp(k, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n.val, true
		}
	}
	return v, false
}

// floor is the pair with the largest key at or below k.
func (t tree[K, V]) floor(k K) (key K, v V, ok bool) {
	for n := t.root; n != nil; {
		if t.cmp(n.key, k) <= 0 {
			key, v, ok = n.key, n.val, true
			n = n.right
		} else {
			n = n.left
		}
	}
	return key, v, ok
}

// put returns the tree with k bound to v.
func (t tree[K, V]) put(o *owner, k K, v V) tree[K, V] {
	t.root = t.insert(o, t.root, k, v)
	return t
}

// del returns the tree without k.
func (t tree[K, V]) del(o *owner, k K) tree[K, V] {
	if _, ok := t.get(k); ok {
		t.root = t.remove(o, t.root, k)
	}
	return t
}

// all yields every pair in key order.
func (t tree[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { walk(t.root, yield) }
}

// from yields every pair with a key of k or above, in key order.
func (t tree[K, V]) from(k K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { t.walkFrom(t.root, k, yield) }
}

func walk[K, V any](n *node[K, V], yield func(K, V) bool) bool {
	return n == nil || walk(n.left, yield) && yield(n.key, n.val) && walk(n.right, yield)
}

func (t tree[K, V]) walkFrom(n *node[K, V], k K, yield func(K, V) bool) bool {
	switch {
	case n == nil:
		return true
	case t.cmp(n.key, k) < 0:
		return t.walkFrom(n.right, k, yield)
	default:
		return t.walkFrom(n.left, k, yield) && yield(n.key, n.val) && walk(n.right, yield)
	}
}

func (t tree[K, V]) insert(o *owner, n *node[K, V], k K, v V) *node[K, V] {
	if n == nil {
		return &node[K, V]{key: k, val: v, size: 1, owner: o}
	}
	n = n.own(o)
	switch c := t.cmp(k, n.key); {
	case c < 0:
		n.left = t.insert(o, n.left, k, v)
	case c > 0:
		n.right = t.insert(o, n.right, k, v)
	default:
		n.key, n.val = k, v
		return n
	}
	return n.balance(o)
}

func (t tree[K, V]) remove(o *owner, n *node[K, V], k K) *node[K, V] {
	c := t.cmp(k, n.key)
	if c == 0 && n.left == nil {
		return n.right
	}
	if c == 0 && n.right == nil {
		return n.left
	}
	n = n.own(o)
	switch {
	case c < 0:
		n.left = t.remove(o, n.left, k)
	case c > 0:
		n.right = t.remove(o, n.right, k)
	default:
		next := n.right
		for next.left != nil {
			next = next.left
		}
		n.key, n.val = next.key, next.val
		n.right = t.remove(o, n.right, next.key)
	}
	return n.balance(o)
}

// own returns n itself if o made it, else a copy that o may change.
func (n *node[K, V]) own(o *owner) *node[K, V] {
	if n.owner == o {
		return n
	}
	c := *n
	c.owner = o
	return &c
}

func (n *node[K, V]) balance(o *owner) *node[K, V] {
	l, r := n.left.count()+1, n.right.count()+1
	switch {
	case r > treeDelta*l:
		if n.right.left.count()+1 >= treeGamma*(n.right.right.count()+1) {
			n.right = n.right.own(o).rotateRight(o)
		}
		return n.rotateLeft(o)
	case l > treeDelta*r:
		if n.left.right.count()+1 >= treeGamma*(n.left.left.count()+1) {
			n.left = n.left.own(o).rotateLeft(o)
		}
		return n.rotateRight(o)
	}
	n.size = l + r - 1
	return n
}

// rotateLeft lifts the right child of n; n is owned by o.
func (n *node[K, V]) rotateLeft(o *owner) *node[K, V] {
	up := n.right.own(o)
	n.right, up.left = up.left, n
	n.resize()
	up.resize()
	return up
}

// rotateRight lifts the left child of n; n is owned by o.
func (n *node[K, V]) rotateRight(o *owner) *node[K, V] {
	up := n.left.own(o)
	n.left, up.right = up.right, n
	n.resize()
	up.resize()
	return up
}

func (n *node[K, V]) resize() { n.size = n.left.count() + n.right.count() + 1 }
