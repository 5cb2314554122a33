// SPDX-License-Identifier: Apache-2.0

package node

import (
	"fmt"
	"net"
	"strconv"

	"gregor/internal/replica"
	"gregor/internal/replica/link"
	"gregor/internal/wire/peer"
)

// fetchConfig is how this node follows other brokers.
func (n *Node) fetchConfig() replica.FetchConfig {
	b := n.live.Broker()
	r := b.Replica
	log := n.logs.Logger(logReplica)
	return replica.FetchConfig{
		Source: n.source, Lanes: func() int { return n.live.Broker().Replica.Fetchers }, MaxBytes: r.FetchMaxBytes, MaxTotal: r.FetchMaxTotal,
		MinBytes: r.FetchMinBytes, MaxWait: r.FetchWait, BackOff: r.FetchBackoff,
		Events: replica.FetchEvents{
			Fetched: func(_ string, bytes int) { n.metrics.Followed(bytes) },
			Failed: func(leader int32, err error) {
				addr, _ := n.brokerAddr(leader)
				log.Warn("a leader cannot be fetched from; trying on", "leader", leader, "advertises", addr, "error", err)
			},
			Truncated: func(topic string, partition int32, from, to int64) {
				if to > from {
					log.Info("a log begins anew where its leader's does", "topic", topic, "partition", partition, "end", from, "begins", to)
					return
				}
				log.Info("a log was cut where its leader's differs", "topic", topic, "partition", partition, "records", from-to, "from", to, "to", from-1)
			},
			BadBatch: func(topic string, partition, leader int32, err error) {
				log.Error("a leader sent a damaged batch: it is not appended", "topic", topic, "partition", partition, "leader", leader, "error", err)
			},
		},
	}
}

// source connects a lane to a leader.
func (n *Node) source(leader int32, lane int) replica.Source {
	b := n.live.Broker()
	return link.New(peer.Config{
		Dial:     n.cfg.Dial,
		ClientID: fmt.Sprintf("broker-%d-fetcher-%d", b.NodeID, lane),
		// A partition's first batch comes whole, however large.
		MaxFrame: max(100<<20, b.Replica.FetchMaxTotal+(1<<20)),
		Timeout:  b.Replica.SocketTimeout + b.Replica.FetchWait,
	}, b.NodeID, func() (string, error) { return n.brokerAddr(leader) })
}

// brokerAddr is where a broker listens for others.
func (n *Node) brokerAddr(id int32) (string, error) {
	name := n.live.Broker().InterBrokerListener
	b := n.image.Load().Broker(id)
	if b == nil {
		return "", fmt.Errorf("broker %d is not registered", id)
	}
	e, ok := b.Endpoint(name)
	if !ok {
		return "", fmt.Errorf("broker %d has no listener %s", id, name)
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), nil
}
