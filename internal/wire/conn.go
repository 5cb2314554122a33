// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"sync/atomic"
)

// Conn is one client's connection.
type Conn struct {
	nc       net.Conn
	listener string
	software atomic.Pointer[Software]
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
