// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/meta"
	"gregor/internal/wire"
)

// bind takes the listeners' addresses. Connections queue up in the system's
// backlog until serve.
func (n *Node) bind(ctx context.Context) error {
	for _, l := range n.live.Broker().Listeners {
		if _, err := n.bindOne(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) bindOne(ctx context.Context, l config.Listener) (bound, error) {
	listen := n.cfg.Listen
	if listen == nil {
		listen = func(ctx context.Context, addr string) (net.Listener, error) {
			var lc net.ListenConfig
			return lc.Listen(ctx, "tcp", addr)
		}
	}
	nl, err := listen(ctx, l.Addr())
	if err != nil {
		return bound{}, fmt.Errorf("listener %s: %w", l.Endpoint, err)
	}
	b := bound{nl, l.Name}
	n.listenMu.Lock()
	defer n.listenMu.Unlock()
	n.listeners = append(n.listeners, b)
	return b, nil
}

// bounds are the listeners that are bound now.
func (n *Node) bounds() []bound {
	n.listenMu.Lock()
	defer n.listenMu.Unlock()
	return slices.Clone(n.listeners)
}

// relisten opens the listeners that settings have added, and closes those that
// they name no longer.
func (n *Node) relisten(b *config.Broker) {
	n.relistening.Lock()
	defer n.relistening.Unlock()
	if n.noMore {
		return
	}
	have := n.bounds()
	for _, l := range b.Listeners {
		if slices.ContainsFunc(have, func(x bound) bool { return x.name == l.Name }) {
			continue
		}
		x, err := n.bindOne(context.Background(), l)
		if err != nil {
			n.log.Error("a listener cannot be added", "listener", l.String(), "error", err)
			continue
		}
		n.serveOn(x)
		n.log.Info("listener added", "listener", l.Name, "address", x.Addr().String())
	}
	for _, x := range have {
		if slices.ContainsFunc(b.Listeners, func(l config.Listener) bool { return l.Name == x.name }) {
			continue
		}
		n.listenMu.Lock()
		n.listeners = slices.DeleteFunc(n.listeners, func(y bound) bool { return y.name == x.name })
		n.listenMu.Unlock()
		n.server.Leave(x, x.name)
		n.log.Info("listener removed", "listener", x.name)
	}
}

func (n *Node) serveOn(l bound) {
	n.serving.Go(func() {
		if err := n.server.Serve(l, l.name); err != nil {
			n.fail(fmt.Errorf("listener %s: %w", l.name, err))
		}
	})
}

// inner tells whether nodes talk to each other over a listener.
func (n *Node) inner(listener string) bool {
	b := n.live.Broker()
	return listener == b.InterBrokerListener || slices.Contains(b.ControllerListenerNames, listener)
}

// Addr is the address that a listener is bound to, "" when there is none of
// that name; the name "" means the first.
func (n *Node) Addr(listener string) string {
	for _, b := range n.bounds() {
		if listener == "" || b.name == listener {
			return b.Addr().String()
		}
	}
	return ""
}

// Listening are the addresses that are bound, as NAME://host:port.
func (n *Node) Listening() []string {
	var out []string
	for _, b := range n.bounds() {
		out = append(out, b.name+"://"+b.Addr().String())
	}
	return out
}

// Advertised is what clients are told, with the ports that the system chose.
func (n *Node) Advertised() []config.Endpoint { return n.resolve(n.live.Broker().Advertised) }

// resolve fills in what only the running machine knows: the port of a listener
// on port 0, and the host's name where a listener is on all addresses.
func (n *Node) resolve(es []config.Endpoint) []config.Endpoint {
	out := make([]config.Endpoint, len(es))
	for i, e := range es {
		if e.Port == 0 {
			if _, p, err := net.SplitHostPort(n.Addr(e.Name)); err == nil {
				e.Port, _ = strconv.Atoi(p)
			}
		}
		if e.Host == "" {
			if host, err := os.Hostname(); err == nil {
				e.Host = host
			} else {
				e.Host = "localhost"
			}
		}
		out[i] = e
	}
	return out
}

// securityProtocols are Kafka's ids (SecurityProtocol.java).
var securityProtocols = map[string]int16{"PLAINTEXT": 0, "SSL": 1, "SASL_PLAINTEXT": 2, "SASL_SSL": 3}

func endpoints(es []config.Endpoint) []meta.Endpoint {
	out := make([]meta.Endpoint, 0, len(es))
	for _, e := range es {
		out = append(out, meta.Endpoint{Listener: e.Name, Host: e.Host, Port: uint16(e.Port), Protocol: securityProtocols[e.Protocol]})
	}
	return out
}

// startServer begins to accept. Until serve, only other nodes are answered.
func (n *Node) startServer(context.Context) error {
	b := n.live.Broker()
	n.memory = api.NewMemory(0)
	f, err := n.newFront()
	if err != nil {
		return err
	}
	n.front = f
	var handler wire.Handler = f
	if n.cfg.Around != nil {
		handler = n.cfg.Around(handler)
	}
	n.server = wire.NewServer(wire.Config{
		Handler: handler, Kind: f.Kind,
		MaxRequestBytes: b.Network.MaxRequestBytes, BufferBytes: max(b.Network.MaxQueuedBytes, 0),
		IdleAfter:  b.Network.IdleTimeout,
		SendBuffer: max(b.Network.SendBuffer, 0), ReceiveBuffer: max(b.Network.ReceiveBuffer, 0),
		Short:  n.memory.Short,
		Events: wireEvents(n.logs.Logger(logWire)), Metrics: n.wireMetrics(),
	})
	n.server.SetLimits(connectionLimits(b))
	n.live.Subscribe(func(_, now *config.Broker) { n.server.SetLimits(connectionLimits(now)) })
	for _, l := range n.bounds() {
		n.serveOn(l)
	}
	return nil
}

// serve lets everybody in.
func (n *Node) serve(context.Context) error {
	n.front.open()
	n.live.Subscribe(func(old, now *config.Broker) {
		if !slices.Equal(old.Listeners, now.Listeners) {
			n.relisten(now)
		}
	})
	n.relisten(n.live.Broker()) // what was added before the last stop
	n.ticker = startTicker(n)
	n.startCleaner()
	return nil
}

// connectionLimits gives the settings of connections in the network's terms.
func connectionLimits(b *config.Broker) wire.Limits {
	l := wire.Limits{
		MaxConnections: b.Network.MaxConnections, MaxPerSec: b.Network.MaxConnectionsPerSec,
		MaxPerIP: b.Network.MaxConnectionsPerIP, PerIP: b.Network.MaxPerIPOverrides,
		Listeners: map[string]wire.ListenerLimits{}, Apart: map[string]bool{},
	}
	for _, x := range b.Listeners {
		l.Listeners[x.Name] = wire.ListenerLimits{MaxConnections: x.MaxConnections, MaxPerSec: x.MaxConnectionsPerSec}
		// Where clients use a node's listener too, its limits hold there as well.
		clients := slices.ContainsFunc(b.Listeners, func(y config.Listener) bool { return !y.Controller && y.Name != b.InterBrokerListener })
		l.Apart[x.Name] = x.Controller || clients && x.Name == b.InterBrokerListener
	}
	return l
}
