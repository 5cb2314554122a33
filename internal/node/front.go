// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/api"
	"gregor/internal/wire"
)

// front stands before the table of all requests while a node starts. What the
// quorum needs is answered from the first moment, what controllers are asked
// once the table is there, and the rest once this broker is let in; until then
// a connection waits as it would in the system's backlog.
//
// Concurrency: immutable but for what is published by pointer and by closing
// channels.
type front struct {
	n     *Node
	first *api.API // the quorum's own requests
	full  atomic.Pointer[api.API]
	isUp  atomic.Bool

	built, up, closed    chan struct{}
	once, onceUp, onceCl sync.Once
}

func (n *Node) newFront() (*front, error) {
	first, err := api.New(api.Config{Memory: n.memory, Inner: n.inner}, n.quorumRoutes())
	if err != nil {
		return nil, err
	}
	return &front{n: n, first: first, built: make(chan struct{}), up: make(chan struct{}), closed: make(chan struct{})}, nil
}

// build publishes the whole table.
func (f *front) build(full *api.API) {
	f.full.Store(full)
	f.once.Do(func() { close(f.built) })
}

// open lets clients in.
func (f *front) open() {
	f.isUp.Store(true)
	f.onceUp.Do(func() { close(f.up) })
}

// close sends whoever waits away.
func (f *front) close() { f.onceCl.Do(func() { close(f.closed) }) }

// Kind meets wire.Config. It waits for the table, unless the first one knows.
func (f *front) Kind(key, version int16) (wire.Kind, bool) {
	if full := f.full.Load(); full != nil {
		return full.Kind(key, version)
	}
	if key >= int16(api.FirstPrivate) {
		if k, ok := f.first.Kind(key, version); ok {
			return k, true
		}
	}
	select {
	case <-f.built:
		return f.full.Load().Kind(key, version)
	case <-f.closed:
		return wire.Kind{}, false
	}
}

// Serve meets wire.Handler.
func (f *front) Serve(ctx context.Context, r *wire.Request) (wire.Reply, wire.Pending) {
	full := f.full.Load()
	if f.isUp.Load() {
		return full.Serve(ctx, r)
	}
	if _, ok := f.first.Kind(r.Key, r.Version); ok && r.Key >= int16(api.FirstPrivate) {
		return f.first.Serve(ctx, r)
	}
	wait := f.up
	if f.early(r) {
		wait = f.built
	}
	select {
	case <-wait:
		return f.full.Load().Serve(ctx, r)
	case <-ctx.Done():
	case <-f.closed:
	}
	return wire.Reply{None: true, Close: true, Why: "the node stops"}, nil
}

// earlyKeys are asked of controllers, by brokers that start and by tools.
var earlyKeys = []kmsg.Key{
	kmsg.ApiVersions, kmsg.DescribeQuorum, kmsg.DescribeCluster, kmsg.BrokerRegistration, kmsg.BrokerHeartbeat,
	kmsg.UnregisterBroker, kmsg.AlterPartition, kmsg.AllocateProducerIDs, kmsg.ControlledShutdown, kmsg.Envelope, kmsg.ControllerRegistration,
	kmsg.AssignReplicasToDirs, kmsg.AddRaftVoter, kmsg.RemoveRaftVoter, kmsg.UpdateRaftVoter,
}

// early tells whether a request need not wait until this broker is let in.
func (f *front) early(r *wire.Request) bool {
	if r.Key >= int16(api.FirstPrivate) || slices.Contains(earlyKeys, kmsg.Key(r.Key)) {
		return true
	}
	return r.Conn != nil && slices.Contains(f.n.live.Broker().ControllerListenerNames, r.Conn.Listener())
}
