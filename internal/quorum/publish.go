// SPDX-License-Identifier: Apache-2.0

package quorum

import (
	"context"
	"sync"
	"sync/atomic"

	"gregor/internal/meta"
)

// publication hands Images from the loop to the publisher, so that whoever
// follows metadata may open logs without holding up the quorum.
//
// Leaf mutex: guards queue and gate; nothing is called beneath it.
type publication struct {
	mu     sync.Mutex
	queue  []publishedImage
	wake   chan struct{} // capacity 1
	gate   chan struct{} // closed and replaced after each publication
	done   chan struct{} // closed by stop
	latest atomic.Pointer[meta.Image]
	last   *meta.Image // the last one queued, under mu
}

type publishedImage struct {
	img   *meta.Image
	delta *meta.Delta
}

// maxQueued bounds the changes kept apart; beyond it they are merged.
const maxQueued = 256

func (p *publication) start() {
	p.wake = make(chan struct{}, 1)
	p.gate = make(chan struct{})
	p.done = make(chan struct{})
	p.last = meta.Empty()
	p.latest.Store(p.last)
}

func (p *publication) add(img *meta.Image, d *meta.Delta) {
	p.mu.Lock()
	p.queue = append(p.queue, publishedImage{img, d})
	if n := len(p.queue); n > maxQueued {
		p.queue = append(p.queue[:0:0], publishedImage{img, meta.Diff(p.queue[0].delta.Old, img)})
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *publication) take() (publishedImage, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return publishedImage{}, false
	}
	q := p.queue[0]
	p.queue[0] = publishedImage{}
	p.queue = p.queue[1:]
	return q, true
}

func (p *publication) finished(img *meta.Image) {
	p.latest.Store(img)
	p.mu.Lock()
	old := p.gate
	p.gate = make(chan struct{})
	p.mu.Unlock()
	close(old)
}

func (p *publication) image() *meta.Image { return p.latest.Load() }

func (p *publication) await(ctx context.Context, ended <-chan struct{}, version int64) error {
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		if p.latest.Load().Version() >= version {
			return nil
		}
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return ErrStopped
		}
	}
}

func (p *publication) stop() { close(p.done) }

// publish is the publisher goroutine; it ends with the loop.
func (n *Node) publish() {
	p := &n.published
	for {
		q, ok := p.take()
		if !ok {
			select {
			case <-p.wake:
				continue
			case <-p.done:
				return
			}
		}
		if n.cfg.Publish != nil {
			n.cfg.Publish(q.img, q.delta)
		}
		p.finished(q.img)
	}
}
