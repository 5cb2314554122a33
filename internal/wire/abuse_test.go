// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Goal: clients that idle, trickle, stall, flood or lie cost a bounded amount
// of memory and do not keep others from being served. Time is handed to the
// sweeper, never waited for.

// until waits for something that other goroutines are bringing about.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		runtime.Gosched()
	}
}

func (s *Server) inPhase(phase int32) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.phase.Load() == phase {
			n++
		}
	}
	return n
}

func (s *Server) stalledWrites() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.wsince.Load() != 0 {
			n++
		}
	}
	return n
}

func withEvents(cfg Config) (Config, chan Event) {
	events := make(chan Event, 1024)
	cfg.Events = func(e Event) { events <- e }
	return cfg, events
}

func wantEvent(t testing.TB, events chan Event, kind EventKind) {
	t.Helper()
	select {
	case e := <-events:
		if e.Kind != kind {
			t.Fatalf("event %+v, want %s", e, kind)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("no event, want %s", kind)
	}
}

func TestIdleIsClosed(t *testing.T) {
	t.Parallel()
	cfg, events := withEvents(Config{Handler: newEcho(), IdleAfter: time.Hour})
	s, addr := start(t, cfg)
	c := dial(t, addr)
	send(t, c, frame(0, 0, 1, nil))
	receive(t, c)
	until(t, "idle", func() bool { return s.inPhase(phaseIdle) == 1 })
	s.sweepOnce(time.Now().Add(59 * time.Minute))
	send(t, c, frame(0, 0, 2, nil))
	receive(t, c)
	until(t, "idle", func() bool { return s.inPhase(phaseIdle) == 1 })
	s.sweepOnce(time.Now().Add(61 * time.Minute))
	wantClosed(t, c)
	wantEvent(t, events, IdleClosed)
}

// A connection whose answer is still waited for does not idle.
func TestPendingIsNotIdle(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s, addr := start(t, Config{Handler: e, IdleAfter: time.Hour})
	c := dial(t, addr)
	send(t, c, frame(1, 0, 1, nil))
	p := <-e.came
	until(t, "reading on", func() bool { return s.inPhase(phaseIdle) == 1 })
	s.sweepOnce(time.Now().Add(2 * time.Hour))
	close(p.done)
	receive(t, c)
}

// Nobody reads while a request is parked; the sweeper finds that its client
// has left, and leaves those alone that have not.
func TestParkedClientLeaves(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s, addr := start(t, Config{Handler: e})
	stays, leaves := dial(t, addr), dial(t, addr)
	send(t, stays, frame(2, 0, 1, nil))
	first := <-e.came
	send(t, leaves, frame(2, 0, 1, nil))
	second := <-e.came
	_ = leaves.Close()
	for gone := false; !gone; {
		s.sweepOnce(time.Now().Add(parkedCheck + time.Second))
		select {
		case <-second.cancel:
			gone = true
		default:
			runtime.Gosched()
		}
	}
	close(first.done)
	receive(t, stays)
}

func TestSlowSender(t *testing.T) {
	t.Parallel()
	cfg, events := withEvents(Config{Handler: newEcho(), FrameGrace: time.Minute, FrameRate: 1000})
	s, addr := start(t, cfg)
	c := dial(t, addr)
	f := frame(0, 0, 1, make([]byte, 200_000))
	send(t, c, f[:100_000])
	until(t, "within a frame", func() bool { return s.inPhase(phaseFrame) == 1 && s.BufferedBytes() >= 100_000 })
	s.sweepOnce(time.Now().Add(100 * time.Second)) // a minute, and 100 s for its bytes
	send(t, c, f[100_000:])
	receive(t, c)
	send(t, c, f[:3])
	until(t, "within a frame", func() bool { return s.inPhase(phaseFrame) == 1 })
	s.sweepOnce(time.Now().Add(59 * time.Second))
	send(t, c, f[3:5])
	until(t, "within a frame", func() bool { return s.inPhase(phaseFrame) == 1 })
	s.sweepOnce(time.Now().Add(62 * time.Second))
	wantClosed(t, c)
	wantEvent(t, events, SlowSender)
}

func TestSlowReader(t *testing.T) {
	t.Parallel()
	cfg, events := withEvents(Config{Handler: newEcho(), WriteStall: time.Minute, BufferBytes: 64 << 20})
	s, addr := start(t, cfg)
	c := dial(t, addr)
	go func() {
		for i := range int32(100) {
			if _, err := c.Write(frame(0, 0, i, make([]byte, 1<<20))); err != nil {
				return
			}
		}
	}()
	until(t, "a stalled write", func() bool { return s.stalledWrites() == 1 })
	s.sweepOnce(time.Now().Add(30 * time.Second))
	if s.Connections() != 1 {
		t.Fatal("closed too early")
	}
	for {
		// Progress until the socket buffers are full moves the clock of the
		// stall, so ask until it is overdue.
		s.sweepOnce(time.Now().Add(2 * time.Minute))
		select {
		case e := <-events:
			if e.Kind != SlowReader {
				t.Fatalf("event %+v", e)
			}
			until(t, "gone", func() bool { return s.Connections() == 0 })
			return
		default:
			runtime.Gosched()
		}
	}
}

func TestTooManyOfAnAddress(t *testing.T) {
	t.Parallel()
	cfg, events := withEvents(Config{Handler: newEcho(), MaxPerIP: 1, PerIP: map[string]int{"127.0.0.1": 2}})
	s, addr := start(t, cfg)
	a, b := dial(t, addr), dial(t, addr)
	for i, c := range []net.Conn{a, b} {
		send(t, c, frame(0, 0, int32(i), nil))
		receive(t, c)
	}
	wantClosed(t, dial(t, addr))
	wantEvent(t, events, Refused)
	_ = a.Close()
	until(t, "room", func() bool { return s.Connections() == 1 })
	c := dial(t, addr)
	send(t, c, frame(0, 0, 3, nil))
	receive(t, c)
}

// At max.connections the next client waits in the system's queue.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	_, addr := start(t, Config{Handler: newEcho(), MaxConnections: 1})
	a := dial(t, addr)
	send(t, a, frame(0, 0, 1, nil))
	receive(t, a)
	b := dial(t, addr)
	send(t, b, frame(0, 0, 2, nil))
	send(t, a, frame(0, 0, 3, nil))
	if id, _ := receive(t, a); id != 3 {
		t.Fatalf("id %d", id)
	}
	_ = a.Close()
	if id, _ := receive(t, b); id != 2 {
		t.Fatalf("id %d", id)
	}
}

// Many clients announce huge frames, send some of them and stop. The budget
// holds, and another client's large request gets through once the sweeper has
// looked.
func TestFloodOfHalfFrames(t *testing.T) {
	t.Parallel()
	const budget = 8 << 20
	s, addr := start(t, Config{Handler: newEcho(), BufferBytes: budget})
	for i := range 100 {
		c := dial(t, addr)
		head := binary.BigEndian.AppendUint32(nil, 90<<20)
		head = append(head, make([]byte, 70_000+i)...)
		go func() { _, _ = c.Write(head) }()
	}
	until(t, "the budget is spent", func() bool { return s.pool.waiting.Load() > 0 })
	body := bytes.Repeat([]byte("x"), 300_000)
	got := make(chan []byte, 1)
	go func() {
		// It may be refused while too many wait already, and comes again then,
		// as clients do.
		for t.Context().Err() == nil {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			_, _ = c.Write(frame(0, 0, 1, body))
			answer := make([]byte, 8+len(body))
			_, err = io.ReadFull(c, answer)
			_ = c.Close()
			if err == nil {
				got <- answer[8:]
				return
			}
		}
	}()
	deadline := time.Now().Add(60 * time.Second)
	for {
		if used := s.BufferedBytes(); used > budget {
			t.Fatalf("%d bytes are buffered, the budget is %d", used, budget)
		}
		if time.Now().After(deadline) {
			t.Fatal("the honest client never got through")
		}
		s.sweepOnce(time.Now().Add(stallUnderPressure + time.Second))
		select {
		case b := <-got:
			if !bytes.Equal(b, body) {
				t.Fatalf("%d bytes came back", len(b))
			}
			return
		default:
			runtime.Gosched()
		}
	}
}

// One frame larger than the budget is taken, two are not at one time.
func TestHugeFrames(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Config{Handler: newEcho(), BufferBytes: 2 << 20})
	a, b := dial(t, addr), dial(t, addr)
	body := bytes.Repeat([]byte("y"), 20<<20)
	f := frame(0, 0, 1, body)
	go func() { _, _ = a.Write(f[:10<<20]) }()
	until(t, "a has the huge buffer", func() bool { return s.pool.huge.Load() })
	go func() { _, _ = b.Write(f) }()
	until(t, "b waits", func() bool { return s.pool.waiting.Load() > 0 })
	go func() { _, _ = a.Write(f[10<<20:]) }()
	for _, c := range []net.Conn{a, b} {
		if _, got := receive(t, c); !bytes.Equal(got, body) {
			t.Fatalf("%d bytes came back", len(got))
		}
	}
}

// Close answers what has begun, drops what is parked, and ends every
// goroutine: the bubble would hang or panic otherwise. This also is the path
// of connections that are not sockets.
func TestCloseInBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEcho()
		s := NewServer(Config{Handler: e, Kind: testKind})
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l, "PIPE") }()
		produce, join, idle, half := l.dial(), l.dial(), l.dial(), l.dial()
		send(t, produce, frame(1, 0, 1, []byte("acked")))
		send(t, join, frame(2, 0, 1, nil))
		send(t, idle, frame(0, 0, 7, nil))
		if id, _ := receive(t, idle); id != 7 {
			t.Fatalf("id %d", id)
		}
		send(t, half, frame(0, 0, 8, nil)[:6])
		first, second := <-e.came, <-e.came
		if !first.on {
			first, second = second, first
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close(context.Background()) }()
		<-second.cancel
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("closed while a produce was waiting")
		default:
		}
		close(first.done)
		if id, body := receive(t, produce); id != 1 || string(body) != "acked" {
			t.Fatalf("id %d %q", id, body)
		}
		if err := errors.Join(<-closed, <-served); err != nil {
			t.Fatal(err)
		}
		if n := s.BufferedBytes(); n != 0 {
			t.Fatalf("%d bytes never came back", n)
		}
	})
}

// When its time is over, Close cuts what still waits.
func TestCloseCuts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEcho()
		s := NewServer(Config{Handler: e, Kind: testKind})
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		go func() { _ = s.Serve(l, "PIPE") }()
		send(t, l.dial(), frame(1, 0, 1, nil))
		p := <-e.came
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		<-p.cancel
	})
}

// The sweeper runs by itself: an idle pipe is closed by virtual time.
func TestSweeperRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(Config{Handler: newEcho(), Kind: testKind, IdleAfter: time.Minute})
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		go func() { _ = s.Serve(l, "PIPE") }()
		c := l.dial()
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// pipes is a listener of net.Pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
