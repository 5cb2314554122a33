// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
)

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
