// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// handlerFunc is a Handler.
type handlerFunc func(ctx context.Context, r *Request) (Reply, Pending)

func (f handlerFunc) Serve(ctx context.Context, r *Request) (Reply, Pending) { return f(ctx, r) }

// only gives the server's one connection, once it is there.
func (s *Server) only(t testing.TB) (conn *Conn) {
	t.Helper()
	until(t, "a connection", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			conn = c
		}
		return conn != nil
	})
	return conn
}

// Answers that are there at once, behind one that is not, are bounded: a client
// that sends on and on is not read any more.
func TestAnswersBehindAPendingAreBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name        string
		size, sends int
	}{
		{"many", 8, 4 * maxQueued},
		{"large", 60 << 10, 64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := newEcho()
			s, addr := start(t, Config{Handler: e})
			c := dial(t, addr)
			send(t, c, frame(1, 0, 0, nil))
			p := <-e.came
			written := make(chan error, 1)
			go func() {
				var err error
				for i := 0; i < tc.sends && err == nil; i++ {
					_, err = c.Write(frame(0, 0, int32(i+1), make([]byte, tc.size)))
				}
				written <- err
			}()
			conn := s.only(t)
			until(t, "the reader waits for the writer", func() bool {
				conn.mu.Lock()
				defer conn.mu.Unlock()
				queued, bytes := len(conn.queue)-conn.head, 0
				for _, it := range conn.queue[conn.head:] {
					bytes += len(it.reply.Body)
				}
				if queued > maxQueued+1 || bytes > 2*maxQueuedBytes {
					t.Fatalf("%d answers of %d bytes are queued", queued, bytes)
				}
				return conn.waiting
			})
			close(p.done)
			for i := range tc.sends + 1 {
				if id, _ := receive(t, c); int(id) != i {
					t.Fatalf("answer %d instead of %d", id, i)
				}
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// While the reader waits for room in the queue its client may leave.
func TestClientLeavesBehindAFullQueue(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s, addr := start(t, Config{Handler: e})
	c := dial(t, addr)
	send(t, c, frame(1, 0, 0, nil))
	p := <-e.came
	for range maxQueued + 1 {
		send(t, c, frame(0, 0, 1, nil))
	}
	until(t, "the reader waits for the writer", func() bool { return s.inPhase(phaseParked) == 1 })
	_ = c.Close()
	until(t, "the sweeper finds the client gone", func() bool {
		s.sweepOnce(s.base.Add(1 << 40))
		select {
		case <-p.cancel:
			return true
		default:
			return false
		}
	})
}

// An answer does not wait for the next request when that takes its time.
func TestAnswerBeforeARequestThatBlocks(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	_, addr := start(t, Config{Handler: handlerFunc(func(_ context.Context, r *Request) (Reply, Pending) {
		if r.Key == 2 {
			<-release
		}
		return Reply{Body: bytes.Clone(r.Body)}, nil
	})})
	t.Cleanup(func() { close(release) })
	c := dial(t, addr)
	send(t, c, append(frame(0, 0, 1, []byte("commit")), frame(2, 0, 2, []byte("join"))...))
	if id, body := receive(t, c); id != 1 || string(body) != "commit" {
		t.Fatalf("answer %d: %q", id, body)
	}
}

// Whatever a request waits for in its handler, nobody waits for a client that has
// left.
func TestClientLeavesBehindAHandler(t *testing.T) {
	t.Parallel()
	came, left := make(chan struct{}), make(chan struct{})
	s, addr := start(t, Config{Handler: handlerFunc(func(ctx context.Context, _ *Request) (Reply, Pending) {
		close(came)
		<-ctx.Done()
		close(left)
		return Reply{None: true, Close: true}, nil
	})})
	c := dial(t, addr)
	send(t, c, frame(6, 0, 1, nil))
	<-came
	_ = c.Close()
	until(t, "the sweeper finds the client gone", func() bool {
		s.sweepOnce(time.Now().Add(2 * parkedCheck))
		select {
		case <-left:
			return true
		default:
			return false
		}
	})
}

// With the budget spent, who parks still gives a connection's buffer back for a
// small one.
func TestExchangeNeedsNoBudget(t *testing.T) {
	t.Parallel()
	p := newPool(2 * connBuffer)
	a, b := p.tryGet(connBuffer), p.tryGet(connBuffer)
	if p.tryGet(100) != nil {
		t.Fatal("the budget is not spent")
	}
	small := p.exchange(100)
	if small == nil || len(small.b) < 100 {
		t.Fatal("nothing in exchange")
	}
	p.put(a)
	p.put(b)
	p.put(small)
	if n := p.used.Load(); n != 0 {
		t.Errorf("%d bytes are still charged", n)
	}
}

// Connections that have parked a request and begun the next hold what they have
// sent, not a buffer each: others can still be read from.
func TestParkedWithMoreToReadHoldLittle(t *testing.T) {
	t.Parallel()
	e := newEcho()
	s, addr := start(t, Config{Handler: e, BufferBytes: 1 << 20})
	for range 64 {
		send(t, dial(t, addr), append(frame(2, 0, 1, []byte("fetch")), 0, 0, 0))
	}
	until(t, "all are parked", func() bool { return s.inPhase(phaseParked) == 64 })
	c := dial(t, addr)
	send(t, c, frame(0, 0, 7, []byte("me")))
	if id, body := receive(t, c); id != 7 || string(body) != "me" {
		t.Fatalf("answer %d: %q", id, body)
	}
}

// watched is a context that counts those who wait for its end.
type watched struct {
	context.Context
	n atomic.Int64
}

// Value hides that it is a context of the standard library.
func (*watched) Value(any) any { return nil }

func (w *watched) AfterFunc(f func()) (stop func() bool) {
	w.n.Add(1)
	inner := context.AfterFunc(w.Context, f)
	return func() bool {
		w.n.Add(-1)
		return inner()
	}
}

// A connection that is refused leaves nothing behind.
func TestRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	s := NewServer(Config{Handler: newEcho(), Kind: testKind, MaxPerIP: 1})
	w := &watched{Context: s.parked}
	s.parked = w
	s.perIP[""] = 1
	for range 100 {
		near, far := net.Pipe()
		s.open(pipeConn{near}, "PLAINTEXT")
		_ = far.Close()
	}
	if n := w.n.Load(); n != 0 {
		t.Fatalf("%d contexts of refused connections are kept", n)
	}
}

// pipeConn has no address.
type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return nil }
