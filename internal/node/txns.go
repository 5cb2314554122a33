// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/api"
	"gregor/internal/config"
	"gregor/internal/coord"
	"gregor/internal/coord/markers"
	"gregor/internal/coord/txn"
	"gregor/internal/meta"
	"gregor/internal/node/metrics"
	"gregor/internal/wire/peer"
)

// txnVersion is the feature of KIP-890: at level 2 each end of a transaction
// raises its producer's epoch.
const txnVersion = "transaction.version"

// startTxns makes the transaction coordinators' runtime, which owns nothing
// yet, and the loop that carries their markers.
func (n *Node) startTxns() {
	b := n.live.Broker()
	n.peers = n.newPeers()
	n.markerAPI = &api.Markers{Partitions: hosted{n.table, &n.image}, Groups: n.groups, Timeout: b.RequestTimeout}
	n.markers = markers.New(markers.Config{
		Leader: n.leaderOf, Send: n.sendMarkers,
		Done: func(ctx context.Context, partition int32, o txn.Order) error {
			_, err := n.txns.Write(ctx, partition, func(s *txn.Shard, now time.Time, _ coord.Ticket) coord.Result {
				return s.Complete(now, o)
			})
			return err
		},
		Refused: func(o txn.Order, p txn.Partition, err error) {
			n.logs.Logger(logCoord).Warn("a partition refuses the marker of a transaction", "transactional_id", o.ID,
				"producer", o.Producer, "epoch", o.Epoch, "topic", p.Topic, "partition", p.Partition, "error", err)
		},
	})
	n.txns = coord.New(coord.Config[*txn.Shard]{
		New: func(int32) *txn.Shard {
			return txn.New(&txn.Config{
				MaxTimeout: b.Txn.MaxTimeout, Expiration: b.Txn.IDExpiration, ExpirationCheck: b.Txn.ExpirationCheck,
				Level: n.image.Load().Feature(txnVersion),
			})
		},
		LoadBytes: b.Txn.LoadBufferBytes,
		Effect: func(partition, epoch int32, e coord.Effect) {
			if o, ok := e.(txn.Order); ok {
				n.markers.Order(partition, epoch, o)
			}
		},
		Events: n.txnEvents(n.logs.Logger(logCoord)), Now: n.cfg.Now,
	})
}

// txnEvents are the lines about transaction coordinators.
func (n *Node) txnEvents(log *slog.Logger) coord.Events {
	return coord.Events{
		Loaded: func(p int32, records int64, took time.Duration) {
			n.txnLoads.Loaded(time.Now(), took)
			log.Debug("transaction coordinator loaded", "partition", p, "records", records, "took", took)
		},
		LoadFailed: func(p int32, err error) {
			log.Error("transaction coordinator cannot load its partition", "partition", p, "error", err)
		},
		BadRecord: func(p int32, offset int64, err error) {
			log.Error("unreadable transaction record was passed over", "partition", p, "offset", offset, "error", err)
		},
		WriteError: func(p int32, err error) {
			log.Warn("transaction coordinator cannot write", "partition", p, "error", err)
		},
		Note: func(_ int32, e coord.Note) {
			log.Info(e.Text, "transactional_id", e.Subject, "reason", e.Reason)
		},
	}
}

// txnStates meets metrics.Sources.
func (n *Node) txnStates() metrics.Txns {
	if !n.up.Load() {
		return metrics.Txns{LoadMax: math.NaN(), LoadAvg: math.NaN()}
	}
	var t metrics.Txns
	t.Homeless, t.Untold = n.markers.Stuck()
	t.LoadMax, t.LoadAvg = n.txnLoads.Measure(time.Now())
	return t
}

// electTxns begins and ends coordinators with the leadership of their
// partitions, and drops the markers that an older one ordered here.
func (n *Node) electTxns(c meta.TopicChange) {
	me := n.live.Broker().NodeID
	if c.Recreated() {
		for _, p := range n.txns.Owned() {
			n.txns.Resign(p, math.MaxInt32)
			n.markers.Forget(p, math.MaxInt32)
		}
	}
	for i, pc := range c.Partitions() {
		switch {
		case pc.New != nil && pc.New.Leader == me:
			if p := n.table.ByID(c.New.ID, i); p != nil {
				n.markers.Forget(i, pc.New.LeaderEpoch)
				n.txns.Elect(i, pc.New.LeaderEpoch, coordLog{p: p, epoch: pc.New.LeaderEpoch, max: n.maxTxnBatch, guarded: n.verifies})
			}
		case pc.New != nil:
			n.txns.Resign(i, pc.New.LeaderEpoch)
			n.markers.Forget(i, math.MaxInt32)
		default:
			n.txns.Resign(i, pc.Old.LeaderEpoch)
			n.markers.Forget(i, math.MaxInt32)
		}
	}
}

// publishTxns tells coordinators of features and leaders that changed.
func (n *Node) publishTxns(img *meta.Image, d *meta.Delta) {
	if slices.Contains(d.Features, txnVersion) {
		level := img.Feature(txnVersion)
		n.txns.Post(func(s *txn.Shard, _ time.Time) coord.Result {
			s.SetLevel(level)
			return coord.Result{}
		})
	}
	n.markers.Wake()
}

func (n *Node) maxTxnBatch() int {
	return n.topicConfig(n.image.Load(), config.TxnTopic).MaxMessageBytes
}

// leaderOf meets markers.Config.
func (n *Node) leaderOf(p txn.Partition) (int32, bool) {
	m := n.image.Load().Partition(p.Topic, p.Partition)
	if m == nil {
		return 0, false
	}
	return m.Leader, true
}

func (n *Node) sendMarkers(ctx context.Context, to int32, req *kmsg.WriteTxnMarkersRequest) (*kmsg.WriteTxnMarkersResponse, error) {
	if to == n.live.Broker().NodeID {
		return n.markerAPI.Write(ctx, req), nil
	}
	return peer.Ask[*kmsg.WriteTxnMarkersResponse](ctx, n.peers.To(to), req)
}

// newPeers makes the pool of connections to other brokers, over the listener
// that brokers use among themselves.
func (n *Node) newPeers() *peer.Pool {
	cfg := n.peerConfig()
	cfg.Timeout = n.live.Broker().RequestTimeout
	return peer.NewPool(cfg, func(id int32) (string, error) {
		m := n.image.Load().Broker(id)
		if m == nil {
			return "", fmt.Errorf("broker %d is not registered", id)
		}
		e, ok := m.Endpoint(n.live.Broker().InterBrokerListener)
		if !ok {
			return "", fmt.Errorf("broker %d has no listener %s", id, n.live.Broker().InterBrokerListener)
		}
		return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), nil
	})
}

// txnFamilies are the rows of transactions.
func (n *Node) txnFamilies() (*api.Admission, [][]api.Route) {
	b := n.live.Broker()
	txns := &api.Txns{Shards: n.txns, Cluster: n.topics, Topics: n.topics, IDs: n.ids, AddWait: b.Txn.AddWait, Pending: n.markers.Pending}
	admission := &api.Admission{
		Cluster: n.topics, Self: b.NodeID, Here: txns, Enabled: n.verifies, Timeout: b.RequestTimeout,
		Ask: func(ctx context.Context, node int32, req *kmsg.AddPartitionsToTxnRequest) (*kmsg.AddPartitionsToTxnResponse, error) {
			return peer.Ask[*kmsg.AddPartitionsToTxnResponse](ctx, n.peers.To(node), req)
		},
	}
	return admission, [][]api.Route{txns.Routes(), n.markerAPI.Routes()}
}
