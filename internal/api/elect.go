// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
	"gregor/internal/meta/plan"
)

// ElectLeaders: 0-2
//
// Behaviours:
//   - Topics null: every partition, and those that need no election are left
//     out. Named ones answer ELECTION_NOT_NEEDED, which is no failure.
//
// Versions:
//
//	0: KIP-183, preferred elections
//	1: election type (KIP-460), top-level error code
//	2: flexible

// ListPartitionReassignments: 0
//
// Behaviours:
//   - Topics null: all that are being moved (KIP-455). What is not being moved
//     is left out of the answer, also when it was asked for.

// AlterPartitionReassignments: 0-1
//
// Behaviours:
//   - Replicas null cancels: NO_REASSIGNMENT_IN_PROGRESS.
//   - The replicas that the partition has: done at once.
//   - Any others: INVALID_REPLICA_ASSIGNMENT, for no other broker exists.
//
// Versions:
//
//	0: KIP-455
//	1: the replication factor may be kept from changing (KIP-860)

// Elections answers who leads, and where replicas shall be.
type Elections struct {
	Image      func() *meta.Image
	Controller Controller
}

// Routes are the family's rows of the table.
func (e *Elections) Routes() []Route {
	return []Route{
		On(kmsg.ElectLeaders, 0, 2, e.elect),
		On(kmsg.AlterPartitionAssignments, 0, 1, e.assign),
		On(kmsg.ListPartitionReassignments, 0, 0, e.list),
	}
}

func (e *Elections) elect(ctx context.Context, c *Call, req *kmsg.ElectLeadersRequest) (kmsg.Response, error) {
	if c.Version == 0 {
		req.ElectionType = 0
	}
	resp, err := ask[*kmsg.ElectLeadersResponse](ctx, e.Controller, req)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (e *Elections) list(_ context.Context, _ *Call, req *kmsg.ListPartitionReassignmentsRequest) (kmsg.Response, error) {
	return plan.ListReassignments(e.Image(), req), nil
}

func (e *Elections) assign(_ context.Context, c *Call, req *kmsg.AlterPartitionAssignmentsRequest) (kmsg.Response, error) {
	img := e.Image()
	mayResize := c.Version < 1 || req.AllowReplicationFactorChange
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	resp.AllowReplicationFactorChange = mayResize
	for _, t := range req.Topics {
		rt := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			rp.Partition = p.Partition
			if err, text := reassign(img, t.Topic, p.Partition, p.Replicas, mayResize); err != nil {
				rp.ErrorCode, rp.ErrorMessage = err.Code, &text
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

// reassign judges one target. On the only broker of a cluster every answer is
// either "as it is" or no.
func reassign(img *meta.Image, topic string, index int32, target []int32, mayResize bool) (*kerr.Error, string) {
	t := img.Topic(topic)
	if t == nil {
		return kerr.UnknownTopicOrPartition, fmt.Sprintf("topic %s does not exist", topic)
	}
	p := t.Partition(index)
	switch {
	case p == nil:
		return kerr.UnknownTopicOrPartition, fmt.Sprintf("topic %s has no partition %d", topic, index)
	case target == nil:
		return kerr.NoReassignmentInProgress, kerr.NoReassignmentInProgress.Description
	case len(target) == 0:
		return kerr.InvalidReplicaAssignment, "no replicas are named"
	}
	for i, r := range target {
		switch {
		case r < 0:
			return kerr.InvalidReplicaAssignment, fmt.Sprintf("%d is no broker id", r)
		case slices.Contains(target[:i], r):
			return kerr.InvalidReplicaAssignment, fmt.Sprintf("broker %d is named twice", r)
		case img.Broker(r) == nil:
			return kerr.InvalidReplicaAssignment, fmt.Sprintf("broker %d is not registered", r)
		}
	}
	switch {
	case !mayResize && len(target) != len(p.Replicas):
		return kerr.InvalidReplicationFactor, fmt.Sprintf("%d replicas would become %d", len(p.Replicas), len(target))
	case !slices.Equal(target, p.Replicas):
		return kerr.InvalidReplicaAssignment, fmt.Sprintf("%s-%d cannot be moved", topic, index)
	}
	return nil, ""
}
