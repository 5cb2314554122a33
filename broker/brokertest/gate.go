// SPDX-License-Identifier: Apache-2.0

package brokertest

import (
	"context"
	"net"
	"sync"
)

// gate stands between a broker and its network. While it is closed nothing
// passes, and nothing ends.
type gate struct {
	mu   sync.Mutex    // guards shut; a leaf
	shut chan struct{} // nil: open; else closed when the gate opens
}

func newGate() *gate { return &gate{} }

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) closed() bool { return g.waiting() != nil }

func (g *gate) waiting() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// pass waits until the gate is open or done is closed.
func (g *gate) pass(done <-chan struct{}) {
	for w := g.waiting(); w != nil; w = g.waiting() {
		select {
		case <-w:
		case <-done:
			return
		}
	}
}

func (g *gate) listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return gatedListener{l, g}, nil
}

func (g *gate) dial(ctx context.Context, addr string) (net.Conn, error) {
	g.pass(ctx.Done())
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return g.wrap(c), nil
}

func (g *gate) wrap(c net.Conn) net.Conn { return &gatedConn{Conn: c, g: g, gone: make(chan struct{})} }

type gatedListener struct {
	net.Listener
	g *gate
}

func (l gatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.g.wrap(c), nil
}

// gatedConn holds bytes at the gate: those to be written before they are, those
// that were read before anybody sees them.
type gatedConn struct {
	net.Conn
	g    *gate
	once sync.Once
	gone chan struct{} // closed by Close
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.g.pass(c.gone)
	return n, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	c.g.pass(c.gone)
	return c.Conn.Write(b)
}

// Close is not held: the broker's end of a connection ends, and its system
// would tell the peer even if the process slept.
func (c *gatedConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}
