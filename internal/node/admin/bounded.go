// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"sync"
)

// bounded is a listener that lets only so many connections be open at a time;
// more wait in the operating system's queue. (golang.org/x/net/netutil has
// the like; it is not worth a dependency.)
type bounded struct {
	net.Listener
	room   chan struct{} // holds one token for each open connection
	closed chan struct{} // closed by Close
	once   sync.Once
}

func newBounded(l net.Listener, n int) *bounded {
	return &bounded{Listener: l, room: make(chan struct{}, n), closed: make(chan struct{})}
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.room <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &boundedConn{Conn: c, leave: sync.OnceFunc(func() { <-b.room })}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

type boundedConn struct {
	net.Conn
	leave func()
}

func (c *boundedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
