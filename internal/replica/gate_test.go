// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// counted is a Waker that remembers.
type counted struct{ wakes, bytes int }

func (c *counted) Wake(n int) { c.wakes++; c.bytes += n }

func TestGateWakesCommittersOnceAndInOrder(t *testing.T) {
	t.Parallel()
	var g gate
	var a, b, c counted
	g.addCommitter(30, &c)
	g.addCommitter(10, &a) // a duplicate waits for an older append
	g.addCommitter(20, &b)
	g.committed(9)
	if a.wakes+b.wakes+c.wakes != 0 {
		t.Fatal("woken too early")
	}
	g.committed(20)
	g.committed(20)
	if a.wakes != 1 || b.wakes != 1 || c.wakes != 0 {
		t.Fatalf("wakes %d %d %d, want 1 1 0", a.wakes, b.wakes, c.wakes)
	}
	g.release()
	if c.wakes != 1 || g.waiting() != 0 {
		t.Fatalf("released %d times, %d left", c.wakes, g.waiting())
	}
}

func TestGateReadersStayUntilForgotten(t *testing.T) {
	t.Parallel()
	var g gate
	var a, b counted
	g.addReader(ReadUncommitted, &a)
	g.addReader(ReadCommitted, &b)
	g.readable(ReadUncommitted, 7)
	g.readable(ReadUncommitted, 5)
	if a.wakes != 2 || a.bytes != 12 || b.wakes != 0 {
		t.Fatalf("%+v %+v", a, b)
	}
	g.forget(&a)
	g.readable(ReadUncommitted, 1)
	g.readable(ReadCommitted, 1)
	if a.wakes != 2 || b.wakes != 1 {
		t.Fatalf("after forgetting the first: %+v %+v", a, b)
	}
}

// A gate against the simplest model of one: a list that is searched whole.
func TestGateAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var g gate
		type waiting struct {
			w    *counted
			upTo int64
		}
		var model []waiting
		hw := int64(0)
		for step := range 300 {
			switch rng.IntN(4) {
			case 0, 1:
				x := waiting{&counted{}, hw + 1 + rng.Int64N(20)}
				g.addCommitter(x.upTo, x.w)
				model = append(model, x)
			case 2:
				hw += rng.Int64N(8)
				g.committed(hw)
				model = slices.DeleteFunc(model, func(x waiting) bool {
					if x.upTo <= hw && x.w.wakes != 1 {
						t.Fatalf("seed %d step %d: waiter for %d woken %d times at %d", seed, step, x.upTo, x.w.wakes, hw)
					}
					return x.upTo <= hw
				})
			case 3:
				if len(model) > 0 {
					i := rng.IntN(len(model))
					g.forget(model[i].w)
					model = slices.Delete(model, i, i+1)
				}
			}
			if g.waiting() != len(model) {
				t.Fatalf("seed %d step %d: %d wait, model has %d", seed, step, g.waiting(), len(model))
			}
			for _, x := range model {
				if x.w.wakes != 0 {
					t.Fatalf("seed %d step %d: waiter for %d woken at %d", seed, step, x.upTo, hw)
				}
			}
		}
	}
}

func BenchmarkGateCommit(b *testing.B) {
	var g gate
	var w counted
	b.ReportAllocs()
	for i := range int64(b.N) {
		g.addCommitter(i, &w)
		g.committed(i)
	}
}
