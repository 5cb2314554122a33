// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// refused tells whether a host refuses connections to an address: there is such
// a host, and no process that listens.
func (n *Node) refused(ctx context.Context, addr string) bool { return n.knock(ctx, addr) == refuses }

// outcome of a dial.
type outcome int

const (
	silent  outcome = iota // nothing that says more
	answers                // somebody listens
	refuses
	noWay // this machine has no way to addresses of that family
)

// knock tells what becomes of a connection to addr, which is closed at once.
func (n *Node) knock(ctx context.Context, addr string) outcome {
	if dial := n.peerConfig().Dial; dial != nil {
		return knockBy(ctx, dial, addr)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return silent
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return silent
	}
	var d net.Dialer
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	return knockAll(ctx, dial, ips, port)
}

// knockAll knocks at the addresses of a name. One that does not refuse may be the
// one that matters, so all must, but for those that there is no way to.
func knockAll(ctx context.Context, dial func(context.Context, string) (net.Conn, error), ips []string, port string) outcome {
	all := noWay
	for _, ip := range ips {
		switch o := knockBy(ctx, dial, net.JoinHostPort(ip, port)); o {
		case refuses:
			all = refuses
		case noWay:
		default:
			return o
		}
	}
	return all
}

func knockBy(ctx context.Context, dial func(context.Context, string) (net.Conn, error), addr string) outcome {
	c, err := dial(ctx, addr)
	switch {
	case err == nil:
		_ = c.Close() // it was only a question
		return answers
	case errors.Is(err, syscall.ECONNREFUSED):
		return refuses
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return noWay
	}
	return silent
}
