// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"time"
)

// serve answers one request; false ends the connection.
func (c *Conn) serve(frame []byte) bool {
	h, kind, body, err := parseHeader(frame, c.s.cfg.Kind)
	if err != nil {
		c.s.event(Event{Kind: BadRequest, Listener: c.listener, Remote: c.nc.RemoteAddr(),
			ClientID: string(h.clientID), Software: c.Software(), Key: h.key, Version: h.version, Err: err})
		c.drop(err)
		return false
	}
	if string(h.clientID) != c.clientID {
		c.clientID = string(h.clientID)
	}
	// c.now is when the frame was received or, where it came with the one
	// before, when that was served.
	ctx := c.ctx
	if !kind.Quick {
		// Answers wait for their like, not for what this one may wait for.
		if !c.writing.Load() && !c.out.empty() && c.out.flush() != nil {
			return false
		}
		c.park()
	}
	var own *buffer
	if kind.Parks {
		// It may wait for long: not with 64 KiB of the pool for a few bytes,
		// its own or of the request after it.
		ctx = c.parked
		if len(c.in.b) == connBuffer && 2*(c.w-c.r) <= 16<<10 {
			if own = c.s.pool.exchange(len(body)); own != nil {
				body = own.b[:copy(own.b, body)]
				c.shrink()
			}
		}
	}
	received := c.now
	c.req = Request{Key: h.key, Version: h.version, Correlation: h.correlation, ClientID: c.clientID,
		HasClientID: h.clientID != nil, Body: body, Size: len(frame), Conn: c, Received: received}
	reply, pending := c.s.cfg.Handler.Serve(ctx, &c.req)
	c.phase.Store(phaseServe)
	c.s.pool.put(own)
	c.req.Body = nil
	c.now = time.Now()
	it := item{reply: reply, pending: pending, correlation: h.correlation, ready: c.now,
		t: Timing{Key: h.key, Version: h.version, Listener: c.listener, Received: received,
			Local: c.now.Sub(received), In: len(frame) + 4}}
	c.consumed()

	if pending == nil {
		if c.writing.Load() && c.enqueue(it, false) {
			c.awaitQueue()
			return !reply.Close && !c.failed.Load()
		}
		return c.answer(&it)
	}
	if pending.ReadOn() {
		if c.failed.Load() {
			pending.Cancel()
			return false
		}
		c.enqueue(it, true)
		c.awaitQueue()
		return !c.failed.Load()
	}
	// Everything else that waits stops the reading, and waits behind what is
	// queued already, so that answers keep their order.
	c.awaitWriter(0)
	if !c.out.empty() {
		if c.out.flush() != nil {
			pending.Cancel()
			return false
		}
	}
	c.park()
	done := c.await(pending)
	c.phase.Store(phaseServe)
	if done {
		it.reply = pending.Reply()
		c.now = time.Now()
		it.t.Remote = c.now.Sub(it.ready)
		it.ready = c.now
		return c.answer(&it)
	}
	pending.Cancel()
	return false
}

// park tells the sweeper that the client may leave unnoticed from now on.
func (c *Conn) park() {
	c.since.Store(c.s.nanos(c.now))
	c.phase.Store(phaseParked)
}

// await waits for a Pending, or for the end of the connection or the server.
func (c *Conn) await(p Pending) bool {
	select {
	case <-p.Done():
		return true
	default:
	}
	select {
	case <-p.Done():
		return true
	case <-c.parked.Done():
		return false
	}
}

// answer puts a reply out; the reader owns the output. It is flushed unless
// another request is there whose answer can go with it.
func (c *Conn) answer(it *item) bool {
	if err := c.out.add(it); err != nil {
		return false
	}
	if it.reply.Close {
		c.closeAfter(it)
		return false
	}
	if c.more() && !c.s.closing.Load() {
		return true
	}
	return c.out.flush() == nil
}

// closeAfter ends the connection because a reply asked for it.
func (c *Conn) closeAfter(it *item) {
	_ = c.out.flush()
	var err error
	if it.reply.Why != "" {
		err = errors.New(it.reply.Why)
	}
	c.s.event(Event{Kind: HandlerClose, Listener: c.listener, Remote: c.nc.RemoteAddr(),
		Software: c.Software(), Key: it.t.Key, Version: it.t.Version, Err: err})
	c.cut(err)
}

// drop ends the connection after what was answered before has been written.
func (c *Conn) drop(err error) {
	c.awaitWriter(0)
	_ = c.out.flush()
	c.cut(err)
}

// enqueue puts an answer behind those that wait. start: begin a writer if
// there is none; else the answer is refused when the writer has just ended.
func (c *Conn) enqueue(it item, start bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.writing.Load() {
		if !start {
			return false
		}
		c.writing.Store(true)
		go c.write()
	}
	c.queue = append(c.queue, it)
	c.queued += it.reply.bytes()
	return true
}

// awaitQueue waits until the queue has room. The client may leave meanwhile.
func (c *Conn) awaitQueue() {
	c.park()
	c.awaitWriter(maxQueued)
	c.phase.Store(phaseServe)
}

// awaitWriter waits until no more than limit answers are queued, nor too many
// bytes of them; 0 means until the writer has ended and the output is the
// reader's.
func (c *Conn) awaitWriter(limit int) {
	for c.writing.Load() {
		c.mu.Lock()
		if n := len(c.queue) - c.head; !c.writing.Load() || limit > 0 && n <= limit && c.queued <= maxQueuedBytes {
			c.mu.Unlock()
			return
		}
		c.waiting = true
		c.mu.Unlock()
		<-c.turn
	}
}

// write sends queued answers in order, each when it is there, and ends with
// the queue. Started by enqueue; the reader waits for its end in finish.
func (c *Conn) write() {
	for {
		c.mu.Lock()
		if c.head == len(c.queue) {
			if !c.out.empty() && !c.failed.Load() {
				c.mu.Unlock()
				_ = c.out.flush() // on error the connection has failed
				continue
			}
			c.queue, c.head = c.queue[:0], 0
			c.writing.Store(false)
			c.since.Store(c.s.nanos(time.Now()))
			c.toldLocked()
			c.mu.Unlock()
			return
		}
		it := c.queue[c.head]
		c.queue[c.head] = item{}
		c.head++
		c.queued -= it.reply.bytes()
		if c.head >= 64 && c.head*2 >= len(c.queue) {
			n := copy(c.queue, c.queue[c.head:])
			clear(c.queue[n:])
			c.queue, c.head = c.queue[:n], 0
		}
		c.toldLocked()
		c.mu.Unlock()
		c.writeOne(&it)
	}
}

func (c *Conn) writeOne(it *item) {
	if p := it.pending; p != nil {
		select {
		case <-p.Done():
		default:
			if !c.failed.Load() {
				_ = c.out.flush()
			}
			select {
			case <-p.Done():
			case <-c.ctx.Done():
			}
		}
		if c.failed.Load() {
			p.Cancel()
			return
		}
		it.reply = p.Reply()
		now := time.Now()
		it.t.Remote = now.Sub(it.ready)
		it.ready = now
	}
	if c.failed.Load() {
		release(&it.reply)
		return
	}
	if c.out.add(it) == nil && it.reply.Close {
		c.closeAfter(it)
	}
}

func (c *Conn) toldLocked() {
	if c.waiting {
		c.waiting = false
		select {
		case c.turn <- struct{}{}:
		default:
		}
	}
}

// bytes is what a reply holds in memory.
func (r *Reply) bytes() int {
	n := len(r.Body)
	for i := range r.Parts {
		n += len(r.Parts[i].Bytes)
	}
	return n
}

func release(r *Reply) {
	if r.Owner != nil {
		r.Owner.Release()
		r.Owner = nil
	}
}
