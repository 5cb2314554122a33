// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// Cluster answers what the cluster is: DescribeCluster (key 60, versions 0 to
// 2: 1 endpoint types, 2 fenced brokers), DescribeQuorum (55, 0 to 2: 1 times,
// 2 nodes and directory ids), UnregisterBroker (64) and UpdateFeatures (57, 0
// to 2: 1 upgrade types, 2 no answer for each feature).
type Cluster struct {
	Images     Images
	Controller Controller
	Quorum     Quorum
	NodeID     int32
}

// Quorum tells how the metadata log stands.
type Quorum interface {
	Status(ctx context.Context, req *kmsg.DescribeQuorumRequest) (QuorumStatus, error)
}

// QuorumStatus is the leader's view of the metadata log.
type QuorumStatus struct {
	Leader        int32 // -1: none
	LeaderEpoch   int32
	HighWatermark int64
	Voters        []QuorumReplica
	Observers     []QuorumReplica
	Nodes         []QuorumNode
}

// QuorumNode is where a controller is reached.
type QuorumNode struct {
	Node      int32
	Endpoints []meta.Endpoint
}

// QuorumReplica is one copy of the metadata log. Times are ms since 1970, -1
// when unknown.
type QuorumReplica struct {
	Node         int32
	Directory    [16]byte
	LogEnd       int64
	LastFetch    int64
	LastCaughtUp int64
}

// Routes are the family's rows.
func (f *Cluster) Routes() []Route {
	return []Route{
		On(kmsg.DescribeCluster, 0, 2, f.describe),
		On(kmsg.DescribeQuorum, 0, 2, f.quorum),
		On(kmsg.UnregisterBroker, 0, 0, f.unregister),
		On(kmsg.UpdateFeatures, 0, 2, f.features),
	}
}

// Endpoint types of DescribeCluster (KIP-919).
const (
	brokerEndpoints     = 1
	controllerEndpoints = 2
)

func (f *Cluster) describe(_ context.Context, c *Call, req *kmsg.DescribeClusterRequest) (kmsg.Response, error) {
	img := f.Images.Image()
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ClusterID, resp.ControllerID = img.ClusterID(), f.NodeID
	resp.ClusterAuthorizedOperations = opsIf(req.IncludeClusterAuthorizedOperations, clusterOps)
	asked := req.EndpointType
	if c.Version < 1 {
		asked = brokerEndpoints
	}
	resp.EndpointType = asked
	switch asked {
	case brokerEndpoints:
	case controllerEndpoints:
		return f.controllers(img, c.Listener(), resp)
	default:
		return nil, fmt.Errorf("%w: %d", kerr.UnsupportedEndpointType, asked)
	}
	resp.ControllerID = -1
	for b := range img.Brokers() {
		e, ok := b.Endpoint(c.Listener())
		if ok && !b.Fenced {
			resp.ControllerID = controllerFor(resp.ControllerID, b.ID, f.NodeID)
		}
		if !ok || b.Fenced && !req.IncludeFencedBrokers {
			continue
		}
		resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{
			NodeID: b.ID, Host: e.Host, Port: int32(e.Port), Rack: rack(b), IsFenced: b.Fenced,
		})
	}
	return resp, nil
}

// controllers tells the controllers instead of the brokers.
//
// Differs from Kafka: where controllers have no listener of their own, the
// brokers' listener tells them too, so that tools may be given either address;
// Kafka always needs controller.listener.names.
func (f *Cluster) controllers(img *meta.Image, listener string, resp *kmsg.DescribeClusterResponse) (kmsg.Response, error) {
	for n := range img.Controllers() {
		if e, ok := n.Endpoint(listener); ok {
			resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: n.ID, Host: e.Host, Port: int32(e.Port)})
		}
	}
	if len(resp.Brokers) == 0 {
		return nil, fmt.Errorf("%w: this listener tells brokers, not controllers", kerr.MismatchedEndpointType)
	}
	return resp, nil
}

// metadataTopic is the only topic whose quorum can be described.
const metadataTopic = "__cluster_metadata"

func (f *Cluster) quorum(ctx context.Context, _ *Call, req *kmsg.DescribeQuorumRequest) (kmsg.Response, error) {
	if len(req.Topics) != 1 || req.Topics[0].Topic != metadataTopic ||
		len(req.Topics[0].Partitions) != 1 || req.Topics[0].Partitions[0].Partition != 0 {
		return nil, kerr.UnknownTopicOrPartition
	}
	s, err := f.Quorum.Status(ctx, req)
	if err != nil {
		return nil, err
	}
	p := kmsg.NewDescribeQuorumResponseTopicPartition()
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = s.Leader, s.LeaderEpoch, s.HighWatermark
	p.CurrentVoters, p.Observers = quorumReplicas(s.Voters), quorumReplicas(s.Observers)
	t := kmsg.NewDescribeQuorumResponseTopic()
	t.Topic = metadataTopic
	t.Partitions = append(t.Partitions, p)
	resp := kmsg.NewPtrDescribeQuorumResponse()
	resp.Topics = append(resp.Topics, t)
	for _, n := range s.Nodes {
		resp.Nodes = append(resp.Nodes, quorumNode(n))
	}
	return resp, nil
}

func quorumReplicas(rs []QuorumReplica) []kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	out := make([]kmsg.DescribeQuorumResponseTopicPartitionReplicaState, 0, len(rs))
	for _, r := range rs {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.ReplicaDirectoryID, s.LogEndOffset = r.Node, r.Directory, r.LogEnd
		s.LastFetchTimestamp, s.LastCaughtUpTimestamp = r.LastFetch, r.LastCaughtUp
		out = append(out, s)
	}
	return out
}

func quorumNode(c QuorumNode) kmsg.DescribeQuorumResponseNode {
	n := kmsg.NewDescribeQuorumResponseNode()
	n.NodeID = c.Node
	for _, e := range c.Endpoints {
		l := kmsg.NewDescribeQuorumResponseNodeListener()
		l.Name, l.Host, l.Port = e.Listener, e.Host, e.Port
		n.Listeners = append(n.Listeners, l)
	}
	return n
}

func (f *Cluster) unregister(ctx context.Context, _ *Call, req *kmsg.UnregisterBrokerRequest) (kmsg.Response, error) {
	return f.Controller.Do(ctx, req)
}

func (f *Cluster) features(ctx context.Context, _ *Call, req *kmsg.UpdateFeaturesRequest) (kmsg.Response, error) {
	ctx, cancel := within(ctx, req.TimeoutMillis)
	defer cancel()
	return f.Controller.Do(ctx, req)
}
