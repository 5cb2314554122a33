// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
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
	first *api.API // the quorum's own requests
	full  atomic.Pointer[api.API]
	// controllers is the table of controllers' listeners; set before full.
	controllers *api.API
	isUp        atomic.Bool

	names []string // of the controllers' listeners

	built, up, closed    chan struct{}
	once, onceUp, onceCl sync.Once
}

func (n *Node) newFront() (*front, error) {
	first, err := api.New(api.Config{Memory: n.memory, Inner: n.inner}, n.quorumRoutes())
	if err != nil {
		return nil, err
	}
	return &front{first: first, names: n.live.Broker().ControllerListenerNames, built: make(chan struct{}), up: make(chan struct{}), closed: make(chan struct{})}, nil
}

// build publishes the whole table, and what of it controllers' own listeners
// serve.
func (f *front) build(full, controllers *api.API) {
	f.controllers = controllers
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
	if !f.isUp.Load() {
		if _, ok := f.first.Kind(r.Key, r.Version); ok && r.Key >= int16(api.FirstPrivate) {
			return f.first.Serve(ctx, r)
		}
		if reply, ok := f.wait(ctx, r); !ok {
			return reply, nil
		}
	}
	if f.controllersOnly(r) {
		if _, ok := f.controllers.Kind(r.Key, r.Version); !ok {
			return wire.Reply{None: true, Close: true, Why: fmt.Sprintf("api key %d is not served on listener %s, which is for controllers", r.Key, r.Conn.Listener())}, nil
		}
		return f.controllers.Serve(ctx, r)
	}
	return f.full.Load().Serve(ctx, r)
}

// wait holds a request back until it may be served.
func (f *front) wait(ctx context.Context, r *wire.Request) (wire.Reply, bool) {
	until := f.up
	if r.Key >= int16(api.FirstPrivate) || slices.Contains(earlyKeys, kmsg.Key(r.Key)) || f.controllersOnly(r) {
		until = f.built
	}
	select {
	case <-until:
		return wire.Reply{}, true
	case <-ctx.Done():
	case <-f.closed:
	}
	return wire.Reply{None: true, Close: true, Why: "the node stops"}, false
}

// controllersOnly tells whether a request came by a listener that is for
// controllers alone.
func (f *front) controllersOnly(r *wire.Request) bool {
	return r.Conn != nil && f.names != nil && slices.Contains(f.names, r.Conn.Listener())
}

// earlyKeys are asked of controllers, by brokers that start and by tools.
var earlyKeys = []kmsg.Key{
	kmsg.ApiVersions, kmsg.DescribeQuorum, kmsg.DescribeCluster, kmsg.BrokerRegistration, kmsg.BrokerHeartbeat,
	kmsg.UnregisterBroker, kmsg.AlterPartition, kmsg.AllocateProducerIDs, kmsg.ControlledShutdown, kmsg.Envelope, kmsg.ControllerRegistration,
	kmsg.AssignReplicasToDirs, kmsg.AddRaftVoter, kmsg.RemoveRaftVoter, kmsg.UpdateRaftVoter,
}

// controllerKeys are served on controllers' listeners: Kafka's list for them,
// as far as it is built.
var controllerKeys = append(slices.Clone(earlyKeys),
	kmsg.CreateTopics, kmsg.DeleteTopics, kmsg.CreatePartitions, kmsg.AlterConfigs, kmsg.IncrementalAlterConfigs, kmsg.DescribeConfigs,
	kmsg.AlterClientQuotas, kmsg.DescribeClientQuotas, kmsg.AlterPartitionAssignments, kmsg.ListPartitionReassignments,
	kmsg.AlterUserSCRAMCredentials, kmsg.DescribeACLs, kmsg.CreateACLs, kmsg.DeleteACLs, kmsg.ElectLeaders, kmsg.UpdateFeatures,
	kmsg.SASLHandshake, kmsg.SASLAuthenticate, kmsg.CreateDelegationToken, kmsg.RenewDelegationToken, kmsg.ExpireDelegationToken,
)

// ofControllers are the rows for controllers' listeners, our own keys too.
func ofControllers(families [][]api.Route) [][]api.Route {
	var out []api.Route
	for _, family := range families {
		for _, r := range family {
			if r.Key >= api.FirstPrivate || slices.Contains(controllerKeys, r.Key) {
				out = append(out, r)
			}
		}
	}
	return [][]api.Route{out}
}
