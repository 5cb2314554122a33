// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/coord/group/classic"
)

// Groups of the classic protocol. FindCoordinator 0-6, JoinGroup 0-9,
// SyncGroup 0-5, Heartbeat 0-4, LeaveGroup 0-5, DescribeGroups 0-6, ListGroups
// 0-5, DeleteGroups 0-2.
//
// Behaviours:
//   - A group lives on the leader of the partition of __consumer_offsets that
//     its id hashes to; FindCoordinator says which broker that is, and makes
//     the topic where it is missing (COORDINATOR_NOT_AVAILABLE meanwhile).
//   - JoinGroup and SyncGroup are parked until the group is complete. The
//     connection reads nothing else meanwhile. A client that goes away is not
//     noticed by the group: its session ends.
//   - Joining, syncing and leaving answer when what they changed is committed.
//     ListGroups and DescribeGroups are answered from what is committed.
//   - While a partition is loaded, Heartbeat answers as if all were well, the
//     others COORDINATOR_LOAD_IN_PROGRESS.
//
// Versions: FindCoordinator v1 key types, v4 many keys (KIP-699), v5 no change
// but for transactions (KIP-890), v6 share groups (KIP-932).
// JoinGroup v1 rebalance timeout, v4 MEMBER_ID_REQUIRED (KIP-394), v5 static
// members (KIP-345), v7 protocol type and null protocol (KIP-559), v8 reason
// (KIP-800), v9 skip assignment (KIP-814).
// SyncGroup v3 static members, v5 protocol type and name (KIP-559).
// Heartbeat v3 static members. LeaveGroup v3 many members (KIP-345), v5 reason.
// DescribeGroups v3 authorised operations, v4 instance ids, v6 GROUP_ID_NOT_FOUND
// and error message (KIP-1043). ListGroups v4 states (KIP-518), v5 types
// (KIP-848). DeleteGroups v0-2 alike.
type Groups struct {
	Shards  GroupShards
	Cluster GroupCluster
	Topics  GroupTopics

	// MinSession and MaxSession bound what JoinGroup may ask for
	// (group.min.session.timeout.ms, group.max.session.timeout.ms).
	MinSession, MaxSession time.Duration

	// NewID makes a random UUID in its usual text form, for member ids.
	NewID func() string

	// Admission and Logs let offsets into transactions; nil: unasked.
	Admission *Admission
	Logs      Finder
}

// OffsetsTopic is where groups live.
const OffsetsTopic = "__consumer_offsets"

// GroupShards runs operations on the shards of the group coordinators that are
// here. *coord.Runtime[*group.Shard] meets it.
type GroupShards interface {
	Write(ctx context.Context, partition int32, op func(s *group.Shard, now time.Time, t coord.Ticket) coord.Result) (any, error)
	Read(ctx context.Context, partition int32, op func(s *group.Shard)) error
	ReadAll(ctx context.Context, op func(partition int32, s *group.Shard)) error
	Owned() []int32
}

// GroupCluster knows where coordinators are.
type GroupCluster interface {
	// InternalPartitions is the number of partitions of a coordinators' topic,
	// 0 where it does not exist.
	InternalPartitions(topic string) int32
	// CreateInternal asks for the topic to be made and does not wait for it.
	CreateInternal(topic string)
	// Coordinator is the live broker that leads a partition, as clients of the
	// listener reach it; false: none does at present.
	Coordinator(topic string, partition int32, listener string) (node int32, host string, port int32, ok bool)
	// Leads is the node that leads a partition; false: none does at present.
	Leads(topic string, partition int32) (node int32, ok bool)
}

// GroupTopics knows which topics and partitions there are.
type GroupTopics interface {
	HasPartition(topic string, partition int32) bool
	// NameOf returns the name of the topic with an id, "" if there is none;
	// IDOf the id of a name, zero if there is none.
	NameOf(id [16]byte) string
	IDOf(topic string) [16]byte
}

// Routes are the rows of the table.
func (g *Groups) Routes() []Route {
	return []Route{
		On(kmsg.FindCoordinator, 0, 6, g.findCoordinator),
		On(kmsg.JoinGroup, 0, 9, g.join).Parks(),
		On(kmsg.SyncGroup, 0, 5, g.sync).Parks(),
		On(kmsg.Heartbeat, 0, 4, g.heartbeat),
		On(kmsg.LeaveGroup, 0, 5, g.leave),
		On(kmsg.DescribeGroups, 0, 6, g.describe),
		On(kmsg.ListGroups, 0, 5, g.list),
		On(kmsg.DeleteGroups, 0, 2, g.delete),
		On(kmsg.OffsetCommit, 2, 10, g.commitOffsets),
		On(kmsg.OffsetFetch, 1, 10, g.fetchOffsets),
		On(kmsg.OffsetDelete, 0, 0, g.deleteOffsets),
		On(kmsg.TxnOffsetCommit, 0, 5, g.commitInTxn),
	}
}

// partition returns the one that coordinates the group; false where the topic
// does not exist, so that nobody does.
func (g *Groups) partition(id string) (int32, bool) {
	n := g.Cluster.InternalPartitions(OffsetsTopic)
	if n <= 0 {
		return 0, false
	}
	return coord.PartitionFor(id, n), true
}

// write runs op on the group's shard. Its error is one that a client may see,
// or the end of ctx.
func (g *Groups) write(ctx context.Context, id string, op func(s *group.Shard, now time.Time, t coord.Ticket) coord.Result) (any, error) {
	p, ok := g.partition(id)
	if !ok {
		return nil, kerr.NotCoordinator
	}
	reply, err := g.Shards.Write(ctx, p, op)
	if err != nil {
		return nil, coord.ClientError(err)
	}
	return reply, nil
}

func (g *Groups) read(ctx context.Context, id string, op func(s *group.Shard)) error {
	p, ok := g.partition(id)
	if !ok {
		return kerr.NotCoordinator
	}
	return coord.ClientError(g.Shards.Read(ctx, p, op))
}

// --- FindCoordinator

// The key types of FindCoordinator.
const (
	coordinatesGroups       = 0
	coordinatesTransactions = 1
	coordinatesShares       = 2
)

func (g *Groups) findCoordinator(_ context.Context, c *Call, req *kmsg.FindCoordinatorRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if c.Version >= 4 {
		for _, key := range req.CoordinatorKeys {
			resp.Coordinators = append(resp.Coordinators, g.find(c, req.CoordinatorType, key))
		}
		return resp, nil
	}
	f := g.find(c, req.CoordinatorType, req.CoordinatorKey)
	resp.ErrorCode, resp.ErrorMessage = f.ErrorCode, f.ErrorMessage
	resp.NodeID, resp.Host, resp.Port = f.NodeID, f.Host, f.Port
	return resp, nil
}

func (g *Groups) find(c *Call, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	f := kmsg.NewFindCoordinatorResponseCoordinator()
	f.Key, f.NodeID, f.Port = key, -1, -1
	refuse := func(err *kerr.Error, why string) kmsg.FindCoordinatorResponseCoordinator {
		f.ErrorCode, f.ErrorMessage = err.Code, &why
		return f
	}
	topic := OffsetsTopic
	switch kind {
	case coordinatesGroups:
	case coordinatesTransactions:
		topic = TxnTopic
	case coordinatesShares:
		return refuse(kerr.InvalidRequest, "this broker has no share coordinator")
	default:
		return refuse(kerr.InvalidRequest, "the key type is not known")
	}
	n := g.Cluster.InternalPartitions(topic)
	if n <= 0 {
		g.Cluster.CreateInternal(topic)
		return refuse(kerr.CoordinatorNotAvailable, "the topic "+topic+" is being created")
	}
	node, host, port, ok := g.Cluster.Coordinator(topic, coord.PartitionFor(key, n), c.Listener())
	if !ok {
		return refuse(kerr.CoordinatorNotAvailable, "the key's partition of "+topic+" has no leader at present")
	}
	f.NodeID, f.Host, f.Port = node, host, port
	return f
}

// --- Members

func (g *Groups) join(ctx context.Context, c *Call, req *kmsg.JoinGroupRequest) (kmsg.Response, error) {
	if c.Version < 1 {
		req.RebalanceTimeoutMillis = req.SessionTimeoutMillis
	}
	resp, err := g.joined(ctx, c, req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		resp = kmsg.NewPtrJoinGroupResponse()
		resp.Generation = -1
		resp.ErrorCode = coord.Code(err)
		if errors.Is(err, kerr.InvalidGroupID) || errors.Is(err, kerr.InvalidSessionTimeout) {
			resp.MemberID = req.MemberID // the group was not asked
		}
	}
	if c.Version < 7 && resp.Protocol == nil {
		resp.Protocol = kmsg.StringPtr("")
	}
	return resp, nil
}

func (g *Groups) joined(ctx context.Context, c *Call, req *kmsg.JoinGroupRequest) (*kmsg.JoinGroupResponse, error) {
	session := time.Duration(req.SessionTimeoutMillis) * time.Millisecond
	switch {
	case req.Group == "":
		return nil, kerr.InvalidGroupID
	case session < g.MinSession || session > g.MaxSession:
		return nil, kerr.InvalidSessionTimeout
	}
	who := classic.Caller{ClientID: c.ClientID, Host: c.Host(), NewID: g.NewID()}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, now time.Time, t coord.Ticket) coord.Result {
		return s.Join(now, t, req, who)
	})
	if err != nil {
		return nil, err
	}
	return reply.(*kmsg.JoinGroupResponse), nil
}

func (g *Groups) sync(ctx context.Context, c *Call, req *kmsg.SyncGroupRequest) (kmsg.Response, error) {
	switch {
	case c.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil):
		return nil, kerr.InconsistentGroupProtocol
	case req.Group == "":
		return nil, kerr.InvalidGroupID
	}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, now time.Time, t coord.Ticket) coord.Result {
		return s.Sync(now, t, req)
	})
	if err != nil {
		return nil, err
	}
	return reply.(*kmsg.SyncGroupResponse), nil
}

func (g *Groups) heartbeat(ctx context.Context, _ *Call, req *kmsg.HeartbeatRequest) (kmsg.Response, error) {
	if req.Group == "" {
		return nil, kerr.InvalidGroupID
	}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, now time.Time, _ coord.Ticket) coord.Result {
		return s.Heartbeat(now, req)
	})
	switch {
	case errors.Is(err, kerr.CoordinatorLoadInProgress):
		return kmsg.NewPtrHeartbeatResponse(), nil // sessions begin anew after the load
	case err != nil:
		return nil, err
	}
	return reply.(*kmsg.HeartbeatResponse), nil
}

func (g *Groups) leave(ctx context.Context, c *Call, req *kmsg.LeaveGroupRequest) (kmsg.Response, error) {
	if req.Group == "" {
		return nil, kerr.InvalidGroupID
	}
	if c.Version < 3 {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = req.MemberID
		req.Members = []kmsg.LeaveGroupRequestMember{m}
	}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, now time.Time, _ coord.Ticket) coord.Result {
		return s.Leave(now, req)
	})
	if err != nil {
		return nil, err
	}
	resp := reply.(*kmsg.LeaveGroupResponse)
	if c.Version < 3 {
		resp.ErrorCode = resp.Members[0].ErrorCode
	}
	return resp, nil
}

// --- Administration

// groupOperations are Read, Delete, Describe, DescribeConfigs and AlterConfigs,
// as bits: all that one who may do everything may do with a group.
const groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

func (g *Groups) describe(ctx context.Context, c *Call, req *kmsg.DescribeGroupsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	told := once[string]{}
	for _, id := range req.Groups {
		if !told.first(id) {
			continue
		}
		var d kmsg.DescribeGroupsResponseGroup
		err := g.read(ctx, id, func(s *group.Shard) {
			var ok bool
			if d, ok = s.Describe(id); !ok && c.Version >= 6 {
				d.ErrorCode = kerr.GroupIDNotFound.Code
				d.ErrorMessage = kmsg.StringPtr("Group " + id + " not found.")
			}
		})
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			d = kmsg.NewDescribeGroupsResponseGroup()
			d.Group, d.ErrorCode = id, coord.Code(err)
		}
		if c.Version >= 3 && req.IncludeAuthorizedOperations && d.ErrorCode == 0 {
			d.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, d)
	}
	return resp, nil
}

func (g *Groups) list(ctx context.Context, _ *Call, req *kmsg.ListGroupsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrListGroupsResponse()
	err := g.Shards.ReadAll(ctx, func(_ int32, s *group.Shard) {
		resp.Groups = append(resp.Groups, s.List(req.StatesFilter, req.TypesFilter)...)
	})
	if err != nil {
		return nil, coord.ClientError(err)
	}
	return resp, nil
}

func (g *Groups) delete(ctx context.Context, _ *Call, req *kmsg.DeleteGroupsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrDeleteGroupsResponse()
	byPartition := map[int32][]string{}
	var order []int32
	seen := once[string]{}
	for _, id := range req.Groups {
		if !seen.first(id) {
			continue
		}
		p, ok := g.partition(id)
		if !ok {
			resp.Groups = append(resp.Groups, deleteError(id, kerr.NotCoordinator))
			continue
		}
		if byPartition[p] == nil {
			order = append(order, p)
		}
		byPartition[p] = append(byPartition[p], id)
	}
	for _, p := range order {
		ids := byPartition[p]
		reply, err := g.Shards.Write(ctx, p, func(s *group.Shard, _ time.Time, _ coord.Ticket) coord.Result {
			return s.DeleteGroups(ids)
		})
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			for _, id := range ids {
				resp.Groups = append(resp.Groups, deleteError(id, coord.ClientError(err)))
			}
			continue
		}
		resp.Groups = append(resp.Groups, reply.([]kmsg.DeleteGroupsResponseGroup)...)
	}
	return resp, nil
}

func deleteError(id string, err error) kmsg.DeleteGroupsResponseGroup {
	r := kmsg.NewDeleteGroupsResponseGroup()
	r.Group, r.ErrorCode = id, coord.Code(err)
	return r
}

// --- For metrics

// CommittedOffset is one line of consumer progress.
type CommittedOffset struct {
	Group, Topic string
	Partition    int32
	Offset       int64
}

// GroupSummary is one group as monitoring sees it.
type GroupSummary struct {
	Group, State, ProtocolType string
	Members                    int
}

// Progress lists the groups coordinated here and what they have committed.
// Partitions that cannot be asked at present are left out.
func (g *Groups) Progress(ctx context.Context) (groups []GroupSummary, offsets []CommittedOffset) {
	for _, p := range g.Shards.Owned() {
		// A read that ctx ended may still run: what it collects is its own.
		var gs []GroupSummary
		var os []CommittedOffset
		err := g.Shards.Read(ctx, p, func(s *group.Shard) {
			s.EachGroup(func(id string, cg *classic.Group) {
				gs = append(gs, GroupSummary{id, cg.State().String(), cg.ProtocolType(), cg.Size()})
				s.FetchAll(group.Committed, id, func(topic string, partition int32, o *group.Offset) {
					os = append(os, CommittedOffset{id, topic, partition, o.Offset})
				})
			})
		})
		if err == nil {
			groups, offsets = append(groups, gs...), append(offsets, os...)
		}
	}
	return groups, offsets
}

// Stats sums up what the coordinators here did since they were loaded.
func (g *Groups) Stats(ctx context.Context) (total group.Stats) {
	for _, p := range g.Shards.Owned() {
		var one group.Stats
		if g.Shards.Read(ctx, p, func(s *group.Shard) { one = s.Stats() }) == nil {
			total.Add(one)
		}
	}
	return total
}
