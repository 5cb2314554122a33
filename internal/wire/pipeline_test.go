// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
)

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
