// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// refused tells whether a host refuses connections to an address: there is such
// a host, and no process that listens. A name may stand for several addresses;
// one that does not refuse may be the one that matters, so all must, but for
// those of a family that this machine has no way to.
func (n *Node) refused(ctx context.Context, addr string) bool {
	if dial := n.peerConfig().Dial; dial != nil {
		return refusedBy(ctx, dial, addr) == refuses
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return false
	}
	var d net.Dialer
	dial := func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	return allRefuse(ctx, dial, ips, port)
}

func allRefuse(ctx context.Context, dial func(context.Context, string) (net.Conn, error), ips []string, port string) (some bool) {
	for _, ip := range ips {
		switch refusedBy(ctx, dial, net.JoinHostPort(ip, port)) {
		case refuses:
			some = true
		case noWay:
		case mayLive:
			return false
		}
	}
	return some
}

// outcome of a dial.
type outcome int

const (
	mayLive outcome = iota
	refuses
	noWay
)

func refusedBy(ctx context.Context, dial func(context.Context, string) (net.Conn, error), addr string) outcome {
	c, err := dial(ctx, addr)
	switch {
	case err == nil:
		_ = c.Close() // it was only a question
		return mayLive
	case errors.Is(err, syscall.ECONNREFUSED):
		return refuses
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return noWay
	}
	return mayLive
}
