// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/quorum"
	"gregor/internal/quorum/carrier"
	"gregor/internal/quorum/founding"
	"gregor/internal/quorum/observer"
	"gregor/internal/wire"
	"gregor/internal/wire/peer"
)

// quorumRoutes are the private requests of the quorum. They are answered from
// the first moment on, with what this node knows by then.
func (n *Node) quorumRoutes() []api.Route {
	return []api.Route{
		api.Private(kmsg.Key(carrier.StepKey), n.serveCarrier),
		api.Private(kmsg.Key(carrier.ChunkKey), n.serveCarrier),
		api.Private(kmsg.Key(founding.Key), n.serveGreeting),
		api.Private(kmsg.Key(quorum.PullKey), n.servePull).Parks(),
	}
}

func private(body []byte) wire.Reply { return wire.Reply{Body: body, Flexible: true} }

func (n *Node) serveCarrier(_ context.Context, c *api.Call, body []byte) (wire.Reply, wire.Pending) {
	r := n.receiver.Load()
	if r == nil {
		return private(carrier.NotReady("its metadata log is not open yet")), nil
	}
	answer, err := r.Serve(c.Key, body)
	if err != nil {
		return wire.Reply{None: true, Close: true, Why: err.Error()}, nil
	}
	return private(answer), nil
}

func (n *Node) serveGreeting(_ context.Context, _ *api.Call, body []byte) (wire.Reply, wire.Pending) {
	m := n.meeting.Load()
	g, err := founding.Decode(body)
	if err != nil || m == nil {
		return wire.Reply{None: true, Close: true, Why: fmt.Sprint("greeting: ", err)}, nil
	}
	return private(m.Answer(g).Append(nil)), nil
}

func (n *Node) servePull(ctx context.Context, _ *api.Call, body []byte) (wire.Reply, wire.Pending) {
	q, err := quorum.DecodePullRequest(body)
	if err != nil || n.receiver.Load() == nil {
		return wire.Reply{None: true, Close: true, Why: fmt.Sprint("pull: ", err)}, nil
	}
	return private(n.quorum.ServePull(ctx, q).Append(nil)), nil
}

// startCarrier makes the way to other voters.
func (n *Node) startCarrier() {
	b := n.live.Broker()
	log := n.logs.Logger(logQuorum)
	n.carrier = carrier.New(carrier.Config{
		Cluster: n.identity.cluster, Peer: n.peerConfig(), Timeout: b.Quorum.RequestTimeout,
		Address: func(id uint64) (string, error) {
			v, ok := n.quorum.Membership().Voter(id)
			if !ok {
				return "", fmt.Errorf("%x is no voter", id)
			}
			return n.voterAddr(v)
		},
		Refused: n.refused, Tick: electionTick(b.Quorum),
		State: func(id uint64, err error) {
			v, _ := n.quorum.Membership().Voter(id)
			if err != nil {
				log.Warn("a controller does not answer", "controller", v.ID, "error", err)
			} else {
				log.Info("a controller answers", "controller", v.ID)
			}
		},
	})
}

// connectQuorum joins the quorum and its messages, once it is open.
func (n *Node) connectQuorum() {
	n.receiver.Store(carrier.NewReceiver(n.identity.cluster, n.quorum.Step))
	n.carrier.Start(n.quorum)
	n.meeting.Load().Follow(func() []quorum.Voter { return n.quorum.Membership().Voters })
	n.controllers = peer.NewPool(n.peerConfig(), func(id int32) (string, error) {
		v, ok := n.quorum.Membership().ByID(id)
		if !ok {
			if v, ok = n.quorum.Leader(); !ok || v.ID != id {
				return "", fmt.Errorf("node %d is no controller", id)
			}
		}
		return n.voterAddr(v)
	})
	b := n.live.Broker()
	log := n.logs.Logger(logQuorum)
	n.observer = observer.Start(observer.Config{
		Cluster: n.identity.cluster, Node: b.NodeID, Directory: n.metaDir.ID(), Controller: b.IsController,
		Log: n.quorum, Peer: n.peerConfig(), Sources: n.controllerAddrs, Leader: n.voterAddr,
		Trouble: func(err error) {
			if err != nil {
				log.Warn("no controller gives metadata", "error", err)
			} else {
				log.Info("metadata is followed again")
			}
		},
	})
}

// controllerAddrs are the addresses at which a controller may be found: of the
// voters, and those that the settings name.
func (n *Node) controllerAddrs() (addrs []string) {
	add := func(a string) {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	b := n.live.Broker()
	own := quorum.RaftID(b.NodeID, n.metaDir.ID())
	for _, v := range n.quorum.Membership().Voters {
		if a, err := n.voterAddr(v); err == nil && v.RaftID() != own {
			add(a)
		}
	}
	for _, v := range b.QuorumVoters {
		if v.ID != b.NodeID {
			add(v.Addr)
		}
	}
	for _, a := range n.bootstrap() {
		add(a)
	}
	return addrs
}

// disconnectQuorum ends what talks to other controllers.
func (n *Node) disconnectQuorum() {
	if n.seat != nil {
		n.seat.close()
	}
	if n.controllers != nil {
		n.controllers.Close()
	}
	if n.observer != nil {
		n.observer.Close()
	}
	if n.carrier != nil {
		n.carrier.Close()
	}
}

// votersChanged follows who votes; it is called on the quorum's loop.
func (n *Node) votersChanged(m *quorum.Membership) {
	n.carrier.Keep(func(id uint64) bool { _, ok := m.Voter(id); return ok })
	var names []string
	for _, v := range m.Voters {
		names = append(names, v.String())
	}
	n.logs.Logger(logQuorum).Info("the voters changed", "voters", names, "this_node_votes", m.Self)
}

// electionTicks without a leader, at least, before an election; at most it is
// twice as many.
const electionTicks = 10

// electionTick makes the longest time without a leader the shorter of Kafka's
// two settings for it.
//
// Differs from Kafka: one clock serves followers and candidates. At the
// defaults a leader that is silent is replaced after 0.5 to 1 s, and one whose
// process is gone at once (ADR 0210); Kafka's followers wait 2 s before they
// campaign.
func electionTick(q config.Quorum) time.Duration {
	longest := min(q.ElectionTimeout, q.FetchTimeout)
	return max(longest/(2*electionTicks), 5*time.Millisecond)
}
