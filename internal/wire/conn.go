// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is one client's connection. docs/architecture/connection.md tells its
// life.
//
// Concurrency: the reader goroutine owns in, r, w, req and, while writing is
// false, out. The writer goroutine lives while answers are queued behind a
// Pending and owns out then. mu guards the queue and the handover; it is a leaf
// and no I/O happens under it. The atomics are for the sweeper.
type Conn struct {
	s        *Server
	nc       net.Conn
	raw      syscall.RawConn // nil: not a socket, or a system without readiness
	listener string
	ip       string
	software atomic.Pointer[Software]

	ctx        context.Context // ends with the connection
	cancel     context.CancelFunc
	parked     context.Context // also ends when the server begins to close
	stopParked context.CancelFunc
	failed     atomic.Bool

	// Reading. in.b[r:w] is what was received and not served; in is nil while
	// nothing is. total is the size of the frame that is being received, with
	// its length field, 0 while that is unknown.
	in    *buffer
	r, w  int
	total int
	// frameStart is when a frame first had to be waited for, 0 while it has not.
	frameStart int64
	tiny       [16]byte
	tryRead    func(fd uintptr) bool
	readN      int
	readErr    error
	req        Request
	clientID   string
	now        time.Time // the last time looked at

	out output

	mu      sync.Mutex
	queue   []item
	head    int
	queued  int           // bytes of the replies in the queue
	waiting bool          // the reader waits on turn
	turn    chan struct{} // cap 1: the queue got shorter
	writing atomic.Bool   // set by the reader, cleared by the writer, under mu

	phase   atomic.Int32
	since   atomic.Int64 // of the phase, or of its last progress
	frameBy atomic.Int64 // when the frame must be whole
	wsince  atomic.Int64 // last progress of a write under way, 0 when none
}

// What the reader is doing, for the sweeper.
const (
	phaseServe  int32 = iota // serving, or waiting for what is ours to give
	phaseIdle                // between requests
	phaseFrame               // within a frame
	phaseParked              // serving what may take long
)

// maxQueued bounds the answers waiting behind Pendings on one connection. A
// producer pipelines 5 by default; more than this and the reader waits.
const maxQueued = 512

// maxQueuedBytes bounds what the answers waiting in the queue hold in memory:
// beyond it the reader waits too.
const maxQueuedBytes = 64 << 10

// item is an answer in the queue: a reply, or a pending one.
type item struct {
	reply       Reply
	pending     Pending
	correlation int32
	ready       time.Time // when Serve returned
	t           Timing
}

func newConn(s *Server, nc net.Conn, listener, ip string) *Conn {
	c := &Conn{s: s, nc: nc, raw: readiness(nc), listener: listener, ip: ip, turn: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.parked, c.stopParked = context.WithCancel(s.parked)
	c.now = time.Now()
	c.since.Store(s.nanos(c.now))
	c.tryRead = c.readFD
	c.out.init(c)
	return c
}

// Listener is the name of the listener that accepted the connection.
func (c *Conn) Listener() string { return c.listener }

// Remote and Local are the ends' addresses.
func (c *Conn) Remote() net.Addr { return c.nc.RemoteAddr() }
func (c *Conn) Local() net.Addr  { return c.nc.LocalAddr() }

// Software is what the client said of itself; SetSoftware keeps it.
func (c *Conn) Software() Software {
	if s := c.software.Load(); s != nil {
		return *s
	}
	return Software{}
}
func (c *Conn) SetSoftware(s Software) { c.software.Store(&s) }

// run serves the connection until it ends, then cleans up.
func (c *Conn) run() {
	for !c.s.closing.Load() {
		frame, err := c.next()
		if err != nil {
			c.readFailed(err)
			break
		}
		if !c.serve(frame) {
			break
		}
	}
	c.finish()
}

// finish writes out what is owed, or cancels it if the connection has failed,
// and frees everything.
func (c *Conn) finish() {
	c.phase.Store(phaseServe)
	c.awaitWriter(0)
	if !c.failed.Load() {
		_ = c.out.flush()
	}
	_ = c.nc.Close()
	c.cancel()
	c.stopParked()
	c.s.pool.put(c.in)
	c.in = nil
	c.out.free()
}

func (c *Conn) readFailed(err error) {
	var size *FrameSizeError
	switch {
	case errors.As(err, &size):
		c.fail(BadRequest, err)
	case errors.Is(err, errNoRoom):
		c.fail(Overload, err)
	default:
		// The client went away, or the server closes, or the sweeper has
		// already said why. Nothing to tell.
		if !c.s.closing.Load() {
			c.cut(err)
		}
	}
}

// fail reports why and ends the connection; once.
func (c *Conn) fail(kind EventKind, err error) {
	if c.failed.Load() {
		return
	}
	c.s.event(Event{Kind: kind, Listener: c.listener, Remote: c.nc.RemoteAddr(), Err: err,
		Software: c.Software()})
	c.cut(err)
}

// cut ends the connection: I/O in progress returns, waits end.
func (c *Conn) cut(error) {
	if c.failed.Swap(true) {
		return
	}
	_ = c.nc.Close()
	c.cancel()
	c.stopParked()
}

// shut makes the reader stop after the request it is at.
func (c *Conn) shut() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }

// overdue says why the connection should be closed now, or "". short: others
// wait for memory.
func (c *Conn) overdue(now int64, short bool) EventKind {
	patience := int64(c.s.cfg.WriteStall)
	if short {
		patience = min(patience, int64(stallUnderPressure))
	}
	if w := c.wsince.Load(); w != 0 && now-w > patience {
		return SlowReader
	}
	switch c.phase.Load() {
	case phaseIdle:
		if !c.writing.Load() && now-c.since.Load() > int64(c.s.cfg.IdleAfter) {
			return IdleClosed
		}
	case phaseFrame:
		if now > c.frameBy.Load() || short && now-c.since.Load() > int64(stallUnderPressure) {
			return SlowSender
		}
	}
	return ""
}

// stallUnderPressure is how long a connection may hold memory without any
// progress while others wait for memory.
const stallUnderPressure = 2 * time.Second

// ---- reading

var errNoRoom = errors.New("no room for another request in memory")

// next returns the next frame, without its length; it is valid until the next
// call. Answers not yet written are, before it waits for the client.
func (c *Conn) next() ([]byte, error) {
	c.consumed()
	for {
		if frame, ok, err := c.buffered(); ok || err != nil {
			return frame, err
		}
		if !c.writing.Load() && !c.out.empty() {
			if err := c.out.flush(); err != nil {
				return nil, err
			}
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// buffered cuts a whole frame from what was received, if there is one.
func (c *Conn) buffered() ([]byte, bool, error) {
	if c.w-c.r < 4 {
		c.total = 0
		return nil, false, nil
	}
	size := int(int32(binary.BigEndian.Uint32(c.in.b[c.r:])))
	if size < 0 || size > c.s.cfg.MaxRequestBytes {
		return nil, false, &FrameSizeError{size, c.s.cfg.MaxRequestBytes}
	}
	c.total = 4 + size
	if c.w-c.r < c.total {
		return nil, false, nil
	}
	frame := c.in.b[c.r+4 : c.r+c.total : c.r+c.total]
	c.r += c.total
	c.total, c.frameStart = 0, 0
	return frame, true, nil
}

// more tells whether another whole frame is there already, so that the answers
// of pipelined requests are written together.
func (c *Conn) more() bool {
	if c.w-c.r < 4 {
		return false
	}
	size := int(int32(binary.BigEndian.Uint32(c.in.b[c.r:])))
	return size >= 0 && c.w-c.r-4 >= size
}

// consumed gives back the buffer of a frame that had one of its own, and makes
// room at the front of the shared one.
func (c *Conn) consumed() {
	if c.r == c.w {
		c.r, c.w = 0, 0
		if c.in != nil && len(c.in.b) != connBuffer {
			c.s.pool.put(c.in)
			c.in = nil
		}
	}
}

// fill receives at least one byte.
func (c *Conn) fill() error {
	for {
		var err error
		if c.raw != nil {
			c.readN, c.readErr = 0, nil
			err = c.raw.Read(c.tryRead)
			if err == nil {
				err = c.readErr
			}
		} else {
			err = c.readPlain()
		}
		if !errors.Is(err, errNoRoom) {
			c.now = time.Now()
			c.w += c.readN
			c.phase.Store(phaseServe)
			return err
		}
		c.phase.Store(phaseServe)
		if err := c.awaitMemory(c.ensure, c.total > connBuffer); err != nil {
			return err
		}
	}
}

// readFD is called with the socket's descriptor when it may be readable. While
// it is not, the connection holds no more memory than its unserved bytes need.
func (c *Conn) readFD(fd uintptr) bool {
	if !c.ensure() {
		c.readErr = errNoRoom
		return true
	}
	n, err := readSocket(fd, c.in.b[c.w:c.readLimit()])
	switch {
	case err == nil && n > 0:
		c.readN = n
		return true
	case err == nil:
		c.readErr = io.EOF
		return true
	case wouldBlock(err):
		c.shrink()
		c.aboutToWait()
		return false
	default:
		c.readErr = err
		return true
	}
}

// readPlain reads where readiness is not to be had: the first bytes of a
// request go into a few bytes of the Conn's own.
func (c *Conn) readPlain() error {
	c.readN = 0
	if c.w == c.r {
		c.shrink()
		c.aboutToWait()
		n, err := c.nc.Read(c.tiny[:])
		if n == 0 {
			return err
		}
		for !c.ensure() {
			if err := c.awaitMemory(c.ensure, c.total > connBuffer); err != nil {
				return err
			}
		}
		c.readN = copy(c.in.b[c.w:], c.tiny[:n])
		return nil
	}
	if !c.ensure() {
		return errNoRoom
	}
	c.aboutToWait()
	n, err := c.nc.Read(c.in.b[c.w:c.readLimit()])
	c.readN = n
	if n > 0 {
		return nil
	}
	return err
}

// readLimit keeps a frame's own buffer free of the next frame's bytes.
func (c *Conn) readLimit() int {
	if len(c.in.b) > connBuffer && c.total > 0 {
		return min(len(c.in.b), c.r+c.total)
	}
	return len(c.in.b)
}

// ensure makes room for the next read; false when the budget is spent.
//
// A frame that does not fit the connection's buffer gets one of its own only
// once it has filled that, then one of 1088 KiB, 16 MiB and its full size, so
// that who claims much must send much before it costs us memory.
func (c *Conn) ensure() bool {
	have := c.w - c.r
	if c.total <= connBuffer {
		need := max(c.total, 4)
		if c.in != nil && len(c.in.b) >= connBuffer {
			if len(c.in.b)-c.r < need || c.w == len(c.in.b) {
				copy(c.in.b, c.in.b[c.r:c.w])
				c.r, c.w = 0, have
			}
			return true
		}
		return c.move(connBuffer)
	}
	if c.in == nil || len(c.in.b) < connBuffer {
		return c.move(connBuffer)
	}
	if c.w < len(c.in.b) {
		return true
	}
	for _, step := range [...]int{connBuffer, 1088 << 10, hugeFrame} {
		if size := min(step, c.total); size > have {
			if c.s.pool.isHuge(size) {
				break // there is one of them: it has to do for the whole frame
			}
			return c.move(size)
		}
	}
	return c.move(c.total)
}

// move takes what was received to a buffer of at least n bytes.
func (c *Conn) move(n int) bool { return c.moveTo(c.s.pool.tryGet(n)) }

func (c *Conn) moveTo(b *buffer) bool {
	if b == nil {
		return false
	}
	have := 0
	if c.in != nil {
		have = copy(b.b, c.in.b[c.r:c.w])
		c.s.pool.put(c.in)
	}
	c.in, c.r, c.w = b, 0, have
	return true
}

// shrink holds no more than twice what was received.
func (c *Conn) shrink() {
	if c.in == nil {
		return
	}
	have := c.w - c.r
	if have == 0 {
		c.s.pool.put(c.in)
		c.in, c.r, c.w = nil, 0, 0
		return
	}
	if len(c.in.b) == connBuffer && 2*have <= 16<<10 {
		c.moveTo(c.s.pool.exchange(max(2*have, 512)))
	}
}

// aboutToWait tells the sweeper what the connection waits for.
func (c *Conn) aboutToWait() {
	have := c.w - c.r
	if have == 0 {
		c.since.Store(c.s.nanos(c.now))
		c.phase.Store(phaseIdle)
		return
	}
	now := c.s.nanos(time.Now())
	if c.frameStart == 0 {
		c.frameStart = now
	}
	c.since.Store(now)
	took := time.Duration(have) * time.Second / time.Duration(c.s.cfg.FrameRate)
	c.frameBy.Store(c.frameStart + int64(c.s.cfg.FrameGrace+took))
	c.phase.Store(phaseFrame)
}

// awaitMemory waits until try succeeds. holding: the connection keeps a buffer
// meanwhile.
func (c *Conn) awaitMemory(try func() bool, holding bool) error {
	p := c.s.pool
	if holding {
		defer p.holders.Add(-1)
		if p.holders.Add(1) > p.maxHolders() {
			return errNoRoom
		}
	}
	t := time.NewTimer(memoryPatience)
	defer t.Stop()
	for {
		w := p.wait()
		if try() {
			p.leave(w)
			return nil
		}
		select {
		case <-w.ready:
		case <-t.C:
			p.leave(w)
			return errNoRoom
		case <-c.ctx.Done():
			p.leave(w)
			return c.ctx.Err()
		}
	}
}

// memoryPatience is how long a request may wait for room in memory. Stalled
// connections lose theirs sooner.
const memoryPatience = 10 * time.Second
