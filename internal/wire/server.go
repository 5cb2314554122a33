// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config tells a Server what to do and where to stop. Zero limits take the
// defaults named.
type Config struct {
	Handler Handler
	// Kind tells how to read a request's header; false closes the connection.
	Kind func(key, version int16) (Kind, bool)

	// MaxRequestBytes is socket.request.max.bytes (100 MiB).
	MaxRequestBytes int
	// BufferBytes bounds what all connections hold for requests being read and
	// large replies being written (48 MiB). One frame above 16 MiB at a time
	// comes on top.
	BufferBytes int64
	// MaxConnections, MaxPerIP and PerIP are the limits to begin with; see
	// Limits. Zero means none.
	MaxConnections int
	MaxPerIP       int
	PerIP          map[string]int
	// IdleAfter is connections.max.idle.ms (10 minutes).
	IdleAfter time.Duration
	// A frame that has begun must arrive within FrameGrace (30 s) plus what
	// its bytes so far take at FrameRate (16 KiB a second).
	FrameGrace time.Duration
	FrameRate  int
	// WriteStall is how long a client may take no byte of a reply (30 s).
	WriteStall time.Duration
	// SendBuffer and ReceiveBuffer are socket.*.buffer.bytes; 0 leaves the
	// system's own tuning.
	SendBuffer, ReceiveBuffer int

	// Short tells that requests wait for memory that others hold outside this
	// package; may be nil. See stallUnderPressure.
	Short func() bool

	Events  func(Event) // may be nil; must not block
	Metrics Metrics     // may be nil
}

// Event is something an operator may want to read of.
type Event struct {
	Kind     EventKind
	Listener string
	Remote   net.Addr
	ClientID string
	Software Software
	Key      int16
	Version  int16
	Err      error
}

// EventKind names an event.
type EventKind string

const (
	BadRequest   EventKind = "bad request"        // garbage, unknown API, too large
	HandlerClose EventKind = "closed by handler"  // a Reply asked for it
	SlowSender   EventKind = "slow sender"        // a frame trickled
	SlowReader   EventKind = "slow reader"        // a reply was not taken
	Overload     EventKind = "overload"           // no memory in the budget
	IdleClosed   EventKind = "idle"               // connections.max.idle.ms
	Refused      EventKind = "connection refused" // too many of an address
	AcceptFailed EventKind = "accept failed"
)

// Metrics is told of each request and connection. Methods must not block and
// are called from many goroutines.
type Metrics interface {
	// Request is called once a request's answer is written (or none is due).
	Request(t *Timing)
	ConnOpened(listener string)
	ConnClosed(listener string)
}

// Timing is one request's life: Local in the handler, Remote waiting for
// others, Send being written. A request is never queued: its connection's
// reader serves it.
type Timing struct {
	Key, Version        int16
	Listener            string
	Received            time.Time
	Local, Remote, Send time.Duration
	In, Out             int // bytes
}

// Server accepts connections and serves them until Close.
//
// Concurrency: a mutex guards the sets of listeners and connections and is
// never held across I/O. One goroutine per listener accepts, one per
// connection reads, and one, the sweeper, closes connections that idle, trickle
// or stall. Close stops and waits for all.
type Server struct {
	cfg    Config
	pool   *pool
	base   time.Time // nanos() counts from here
	ctx    context.Context
	cancel context.CancelFunc
	// parked ends as soon as Close begins; ctx when its grace is over.
	parked     context.Context
	stopParked context.CancelFunc
	closing    atomic.Bool
	limits     atomic.Pointer[Limits]
	pace       pacer         // of connections on all listeners
	done       chan struct{} // closed when Close begins

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	sweeping  bool // the sweeper runs
	conns     map[*Conn]struct{}
	perIP     map[string]int
	// perListener counts connections by the name of their listener.
	perListener map[string]int
	room        chan struct{} // closed, and replaced, when there may be more room
	wg          sync.WaitGroup
}

// NewServer makes a Server; it has no goroutine until Serve.
func NewServer(cfg Config) *Server {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&cfg.MaxRequestBytes, 100<<20)
	def(&cfg.MaxPerIP, 1<<31-1)
	def(&cfg.FrameRate, 16<<10)
	if cfg.BufferBytes <= 0 {
		cfg.BufferBytes = 48 << 20
	}
	// A connection needs 64 KiB to read at all, and a frame up to hugeFrame
	// must fit besides its smaller predecessor.
	cfg.BufferBytes = max(cfg.BufferBytes, 1<<20)
	dur := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	dur(&cfg.IdleAfter, 10*time.Minute)
	dur(&cfg.FrameGrace, 30*time.Second)
	dur(&cfg.WriteStall, 30*time.Second)
	s := &Server{
		cfg: cfg, pool: newPool(cfg.BufferBytes), base: time.Now(), done: make(chan struct{}),
		listeners: map[net.Listener]struct{}{}, conns: map[*Conn]struct{}{},
		perIP: map[string]int{}, perListener: map[string]int{}, room: make(chan struct{}),
	}
	s.limits.Store(&Limits{MaxConnections: cfg.MaxConnections, MaxPerIP: cfg.MaxPerIP, PerIP: cfg.PerIP})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.parked, s.stopParked = context.WithCancel(s.ctx)
	return s
}

// nanos is a clock that fits an atomic; it starts at 1 so that 0 means never.
func (s *Server) nanos(t time.Time) int64 { return int64(t.Sub(s.base)) + 1 }

// Serve accepts connections from l until Close; name is the listener's name.
// It returns nil after Close, or the error that ended accepting.
func (s *Server) Serve(l net.Listener, name string) error {
	s.mu.Lock()
	if s.closing.Load() {
		s.mu.Unlock()
		return l.Close()
	}
	if !s.sweeping {
		s.sweeping = true
		s.wg.Add(1)
		go s.sweep()
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	var pace pacer
	for {
		if !s.awaitRoom(name) || !s.awaitPace(&pace, name) {
			return nil
		}
		nc, err := l.Accept()
		if err != nil {
			if s.closing.Load() || !s.listens(l) {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("listener %s: %w", name, err)
			}
			// Out of descriptors, or a connection that died while queued.
			s.event(Event{Kind: AcceptFailed, Listener: name, Err: err})
			if !s.wait(50 * time.Millisecond) {
				return nil
			}
			continue
		}
		s.open(nc, name)
	}
}

func (s *Server) listens(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.listeners[l]
	return ok
}

// Leave ends the accepting from l, as Close does for all, and closes the
// connections of the listener of that name. Serve returns nil.
func (s *Server) Leave(l net.Listener, name string) {
	s.mu.Lock()
	delete(s.listeners, l)
	for c := range s.conns {
		if c.listener == name {
			c.shut()
		}
	}
	s.mu.Unlock()
	_ = l.Close()
}

// awaitRoom waits until the listener may accept another connection.
func (s *Server) awaitRoom(listener string) bool {
	for {
		s.mu.Lock()
		full, room := s.fullLocked(listener), s.room
		s.mu.Unlock()
		if !full {
			return !s.closing.Load()
		}
		select {
		case <-room:
		case <-s.done:
			return false
		}
	}
}

func (s *Server) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// open starts a connection, or closes it where its address has too many.
func (s *Server) open(nc net.Conn, listener string) {
	ip := hostOf(nc.RemoteAddr())
	limit := s.perIPLimit(ip)
	c := newConn(s, nc, listener, ip)
	s.mu.Lock()
	if s.closing.Load() || s.perIP[ip] >= limit {
		closing := s.closing.Load()
		s.mu.Unlock()
		if !closing {
			s.event(Event{Kind: Refused, Listener: listener, Remote: nc.RemoteAddr(),
				Err: fmt.Errorf("%d connections from this address, the most allowed", limit)})
		}
		_ = nc.Close()
		c.cancel()
		c.stopParked()
		return
	}
	s.perIP[ip]++
	s.perListener[listener]++
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	if tcp, ok := nc.(*net.TCPConn); ok {
		if s.cfg.SendBuffer > 0 {
			_ = tcp.SetWriteBuffer(s.cfg.SendBuffer)
		}
		if s.cfg.ReceiveBuffer > 0 {
			_ = tcp.SetReadBuffer(s.cfg.ReceiveBuffer)
		}
	}
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.ConnOpened(listener)
	}
	go func() {
		defer s.wg.Done()
		c.run()
		s.forget(c)
	}()
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.perListener[c.listener]--
	if s.perIP[c.ip]--; s.perIP[c.ip] <= 0 {
		delete(s.perIP, c.ip)
	}
	s.freedLocked()
	s.mu.Unlock()
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.ConnClosed(c.listener)
	}
}

// Connections is how many are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// BufferedBytes is what the budget has given out.
func (s *Server) BufferedBytes() int64 { return s.pool.used.Load() }

// Close stops accepting, lets each connection finish the requests it has
// begun, save those parked for an event that may not come (joins, long polls),
// and waits. When ctx ends first, connections are cut.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closing.Swap(true) {
		close(s.done)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		c.shut()
	}
	s.mu.Unlock()
	s.stopParked()

	finished := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		s.cancel()
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		c.cut(ctx.Err())
	}
	s.mu.Unlock()
	<-finished
	return ctx.Err()
}

func (s *Server) event(e Event) {
	if s.cfg.Events != nil {
		s.cfg.Events(e)
	}
}

// sweepEvery bounds how late a deadline is noticed.
const sweepEvery = time.Second

// sweep closes connections that idle, trickle or stall, so that no request
// needs a timer of its own.
func (s *Server) sweep() {
	defer s.wg.Done()
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case now := <-t.C:
			s.sweepOnce(now)
		}
	}
}

func (s *Server) sweepOnce(now time.Time) {
	at := s.nanos(now)
	short := s.pool.waiting.Load() > 0 || s.cfg.Short != nil && s.cfg.Short()
	s.pool.trim()
	s.mu.Lock()
	var overdue, parked []*Conn
	for c := range s.conns {
		switch {
		case c.overdue(at, short) != "":
			overdue = append(overdue, c)
		case c.phase.Load() == phaseParked && at-c.since.Load() > int64(parkedCheck):
			parked = append(parked, c)
		}
	}
	s.mu.Unlock()
	for _, c := range parked {
		if peerGone(c.raw) {
			c.cut(nil)
		}
	}
	for _, c := range overdue {
		if kind := c.overdue(at, short); kind != "" {
			c.fail(kind, nil)
		}
	}
}

// parkedCheck is how long a request waits before its client is looked after:
// nobody reads from the connection then, so its end would go unnoticed.
const parkedCheck = 5 * time.Second

// hostOf is an address without its port.
func hostOf(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String()
	}
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
