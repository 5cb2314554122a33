// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"sync"
	"sync/atomic"
)

// Buffers come in these sizes. 64 KiB is a connection's normal one, which
// takes many small frames at a read; 1088 KiB holds a frame with one batch of
// the default max.message.bytes (1,048,588) with room for names.
var classes = [...]int{
	512, 4 << 10, 16 << 10, connBuffer,
	128 << 10, 256 << 10, 512 << 10, 1088 << 10, 2 << 20, 4 << 20, 8 << 20, 16 << 20,
}

const (
	connBuffer = 64 << 10
	// hugeFrame is the size above which a buffer is not pooled, and only one
	// exists at a time: it is charged to a token, not to the budget. So is one
	// of more than half the budget. It comes from the system and goes back to
	// it, so that the garbage collector does not make room for another.
	hugeFrame = 16 << 20
)

// unpooled marks a buffer that the pool does not know.
const unpooled = -2

// buffer is memory taken from a pool. class is -1 for a huge one.
type buffer struct {
	b     []byte
	class int
}

// pool hands out buffers within a budget of bytes over all connections.
//
// Concurrency: a leaf. The budget is an atomic counter with a queue of waiters
// behind a mutex; small classes are sync.Pools, large ones stacks that the
// sweeper trims, so that a quiet broker gives its memory back but a busy one
// never touches fresh pages (which cost up to 2 s of CPU per GB on a virtual
// machine).
type pool struct {
	limit int64
	used  atomic.Int64
	huge  atomic.Bool

	small [4]sync.Pool

	mu    sync.Mutex // guards what follows; taken alone
	large [len(classes)][]*buffer
	// fewest is how short each stack was since the last trim: what lay unused.
	fewest   [len(classes)]int
	retained int64
	waiters  []*waiter
	waiting  atomic.Int32
	holders  atomic.Int32 // of the waiting: with a full connection buffer
}

type waiter struct{ ready chan struct{} }

func newPool(limit int64) *pool { return &pool{limit: limit} }

func classFor(n int) int {
	for i, size := range classes {
		if n <= size {
			return i
		}
	}
	return -1
}

// isHuge tells whether a buffer of n bytes needs the token.
func (p *pool) isHuge(n int) bool {
	class := classFor(n)
	return class < 0 || int64(classes[class]) > p.limit/2
}

// tryGet returns a buffer of at least n bytes, or nil when the budget is spent.
func (p *pool) tryGet(n int) *buffer {
	class := classFor(n)
	if p.isHuge(n) {
		if !p.huge.CompareAndSwap(false, true) {
			return nil
		}
		return &buffer{b: allocHuge(n), class: -1}
	}
	size := int64(classes[class])
	limit := p.limit
	if size > connBuffer {
		// What is left is for those who wait for one of these (an eighth, see
		// maxHolders) and for small requests.
		limit = limit / 8 * 5
	}
	for {
		used := p.used.Load()
		if used+size > limit {
			return nil
		}
		if p.used.CompareAndSwap(used, used+size) {
			break
		}
	}
	if class < len(p.small) {
		return p.getSmall(class)
	}
	p.mu.Lock()
	if stack := p.large[class]; len(stack) > 0 {
		b := stack[len(stack)-1]
		p.large[class] = stack[:len(stack)-1]
		p.fewest[class] = min(p.fewest[class], len(stack)-1)
		p.retained -= size
		p.mu.Unlock()
		return b
	}
	// In use and in store together stay within the budget.
	for c := len(classes) - 1; c >= 0 && p.retained+p.used.Load() > p.limit; c-- {
		p.dropLocked(c, len(p.large[c]))
	}
	p.mu.Unlock()
	return &buffer{b: make([]byte, size), class: class}
}

func (p *pool) getSmall(class int) *buffer {
	if b, ok := p.small[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, classes[class]), class: class}
}

// exchange returns a buffer of at least n bytes to whoever puts a larger one
// back at once. So it must not depend on the budget: when that is spent, all
// would keep what they have, and nobody could be read from.
func (p *pool) exchange(n int) *buffer {
	class := classFor(n)
	if class < 0 || classes[class] >= connBuffer {
		return p.tryGet(n)
	}
	p.used.Add(int64(classes[class]))
	return p.getSmall(class)
}

// put takes a buffer back.
func (p *pool) put(b *buffer) {
	if b == nil || b.class == unpooled {
		return
	}
	if b.class < 0 {
		freeHuge(b.b)
		b.b = nil
		p.huge.Store(false)
		p.wake()
		return
	}
	size := int64(len(b.b))
	if b.class < len(p.small) {
		p.small[b.class].Put(b)
	} else {
		p.mu.Lock()
		p.large[b.class] = append(p.large[b.class], b)
		p.retained += size
		p.mu.Unlock()
	}
	p.used.Add(-size)
	p.wake()
}

// trim lets go of half of what lay unused since the last trim; the sweeper
// calls it.
func (p *pool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.large {
		p.dropLocked(c, (p.fewest[c]+1)/2)
		p.fewest[c] = len(p.large[c])
	}
}

func (p *pool) dropLocked(class, n int) {
	stack := p.large[class]
	keep := len(stack) - n
	clear(stack[keep:])
	p.large[class] = stack[:keep]
	p.fewest[class] = min(p.fewest[class], keep)
	p.retained -= int64(n) * int64(classes[class])
}

// reserve charges n bytes that live outside the pool (a large reply being
// written to a slow reader); unreserve gives them back.
func (p *pool) reserve(n int64) bool {
	for {
		used := p.used.Load()
		if used+n > p.limit && used > 0 {
			return false
		}
		if p.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

func (p *pool) unreserve(n int64) {
	p.used.Add(-n)
	p.wake()
}

// maxHolders is how many may wait while they hold a connection's buffer.
func (p *pool) maxHolders() int32 { return int32(max(1, p.limit/8/connBuffer)) }

// wait queues for a change of the budget. The caller tries again when ready is
// closed, and calls leave when it stops waiting.
func (p *pool) wait() *waiter {
	w := &waiter{ready: make(chan struct{})}
	p.mu.Lock()
	p.waiters = append(p.waiters, w)
	p.waiting.Add(1)
	p.mu.Unlock()
	return w
}

func (p *pool) leave(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range p.waiters {
		if x == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			p.waiting.Add(-1)
			return
		}
	}
}

// wake lets every waiter try again. There are few, and seldom any.
func (p *pool) wake() {
	if p.waiting.Load() == 0 {
		return
	}
	p.mu.Lock()
	for _, w := range p.waiters {
		close(w.ready)
	}
	p.waiting.Add(-int32(len(p.waiters)))
	p.waiters = p.waiters[:0]
	p.mu.Unlock()
}
