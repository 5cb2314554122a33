// SPDX-License-Identifier: Apache-2.0

package vnet

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// bufferBytes is what a direction of a connection holds before its writer
// blocks: about what Linux grants by default.
const bufferBytes = 256 << 10

// segment is bytes, or an end, on their way.
type segment struct {
	at       time.Time // when it arrives
	data     []byte
	fin, rst bool
}

// conn is one end of a connection. Everything is guarded by Net.mu.
type conn struct {
	n             *Net
	host          *Host
	peer          *conn
	local, remote *net.TCPAddr

	in     []segment // to be read by this end
	size   int       // bytes in in
	last   time.Time // when the newest of in arrives
	waiter chan struct{}

	closed bool // by this end: Close, or the process died
	silent bool // it died without a word
	dead   bool // a reset was read

	readBy, writeBy time.Time // deadlines
}

// wake has every waiter of this end look again.
func (c *conn) wake() {
	if c.waiter != nil {
		close(c.waiter)
		c.waiter = nil
	}
}

// wait releases the network until something changes, at comes, or deadline
// does; both may be zero.
func (c *conn) wait(at, deadline time.Time) {
	if c.waiter == nil {
		c.waiter = make(chan struct{})
	}
	w := c.waiter
	if at.IsZero() || !deadline.IsZero() && deadline.Before(at) {
		at = deadline
	}
	c.n.mu.Unlock()
	defer c.n.mu.Lock()
	if at.IsZero() {
		<-w
		return
	}
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-w:
	case <-t.C:
	}
}

// out sends a segment to the peer.
func (c *conn) out(s segment) {
	p := c.peer
	if p.closed {
		return
	}
	s.at = time.Now().Add(c.n.delay())
	if s.at.Before(p.last) {
		s.at = p.last
	}
	p.last = s.at
	p.in = append(p.in, s)
	p.size += len(s.data)
	p.wake()
}

// reset ends this end as if a reset had arrived.
func (c *conn) reset() {
	c.dead, c.in, c.size = true, nil, 0
	c.wake()
}

// finish closes this end.
func (c *conn) finish() {
	c.closed, c.in, c.size = true, nil, 0
	c.wake()
	c.peer.wake()
	if c.peer.closed {
		delete(c.n.conns, c)
		delete(c.n.conns, c.peer)
	}
}

func (c *conn) fail(op string, err error) error {
	if errors.Is(err, syscall.ECONNRESET) {
		err = os.NewSyscallError(op, err) // as package net has it: clients look for that
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// over tells why this end cannot be used, nil when it can.
func (c *conn) over(deadline time.Time) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.dead:
		return syscall.ECONNRESET
	case !deadline.IsZero() && !time.Now().Before(deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) Read(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for {
		if err := c.over(c.readBy); err != nil {
			return 0, c.fail("read", err)
		}
		if len(b) == 0 {
			return 0, nil
		}
		switch {
		case len(c.in) == 0 || !c.n.reaches(c.peer.host, c.host):
			c.wait(time.Time{}, c.readBy)
			continue
		case time.Until(c.in[0].at) > 0:
			c.wait(c.in[0].at, c.readBy)
			continue
		}
		s := &c.in[0]
		switch {
		case s.rst:
			c.reset()
			continue
		case s.fin:
			return 0, io.EOF
		}
		n := copy(b, s.data)
		s.data = s.data[n:]
		if len(s.data) == 0 {
			c.in = c.in[1:]
		}
		c.size -= n
		c.peer.wake()
		return n, nil
	}
}

// resetArrived reads the resets that have arrived behind bytes nobody has
// read: a writer hears of them at once.
func (c *conn) resetArrived() bool {
	if len(c.in) == 0 || !c.n.reaches(c.peer.host, c.host) {
		return false
	}
	s := c.in[len(c.in)-1]
	return s.rst && time.Until(s.at) <= 0
}

func (c *conn) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	done := 0
	for {
		if err := c.over(c.writeBy); err != nil {
			return done, c.fail("write", err)
		}
		if c.resetArrived() {
			c.reset()
			continue
		}
		if len(b) == 0 {
			return done, nil
		}
		p := c.peer
		if p.closed && !p.silent && c.n.reaches(c.host, p.host) && c.n.reaches(p.host, c.host) {
			c.reset() // the peer's system answers with a reset
			continue
		}
		room := bufferBytes - p.size
		if p.closed {
			room = bufferBytes // held, or lost with the host; nobody counts it
		}
		if room <= 0 {
			c.wait(time.Time{}, c.writeBy)
			continue
		}
		if c.n.oneIn(c.n.weather.ResetOneIn) {
			c.out(segment{rst: true})
			c.reset()
			continue
		}
		k := min(room, len(b))
		c.out(segment{data: append([]byte(nil), b[:k]...)})
		b = b[k:]
		done += k
	}
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	if !c.dead {
		c.out(segment{fin: c.size == 0, rst: c.size > 0})
	}
	c.finish()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error { return c.set(&t, &t) }

func (c *conn) SetReadDeadline(t time.Time) error { return c.set(&t, nil) }

func (c *conn) SetWriteDeadline(t time.Time) error { return c.set(nil, &t) }

func (c *conn) set(read, write *time.Time) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	if read != nil {
		c.readBy = *read
	}
	if write != nil {
		c.writeBy = *write
	}
	c.wake()
	return nil
}
