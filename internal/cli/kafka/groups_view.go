// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupView is a group of either protocol as the descriptions print it.
type groupView struct {
	id, state, assignor string
	coordinator         kadm.BrokerDetail
	epoch, targetEpoch  string // "" where the protocol has none
	members             []memberView
}

type memberView struct {
	id, instance, client, host string
	assigned, target           map[string][]int32
	epoch                      string
	kind                       int8 // -1 unknown, 0 classic, 1 consumer
}

func (m *memberView) count() (n int) {
	for _, ps := range m.assigned {
		n += len(ps)
	}
	return n
}

// views describes groups, first by the consumer protocol and then, those that
// are none, by the classic one. Sorted by name.
func (t *groupsTool) views(ctx context.Context, ids []string) ([]groupView, error) {
	var out []groupView
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) == 0 {
		return nil, nil
	}
	coordinators := t.adm.FindGroupCoordinators(ctx, ids...)
	meta, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		return nil, javaError(timedOut(err, "describeGroups"))
	}
	for _, id := range ids {
		c := coordinators[id]
		if c.Err != nil {
			return nil, javaError(timedOut(c.Err, "findCoordinator"))
		}
		v := groupView{id: id}
		for _, b := range meta.Brokers {
			if b.NodeID == c.NodeID {
				v.coordinator = b
			}
		}
		known, err := t.viewConsumer(ctx, &v)
		if err == nil && !known {
			err = t.viewClassic(ctx, &v)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (t *groupsTool) viewConsumer(ctx context.Context, v *groupView) (bool, error) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{v.id}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		if isUnsupported(err) {
			return false, nil
		}
		return false, javaError(timedOut(err, "describeConsumerGroups"))
	}
	for _, g := range resp.Groups {
		switch err := codeError(g.ErrorCode, g.ErrorMessage); {
		case errors.Is(err, kerr.GroupIDNotFound), errors.Is(err, kerr.UnsupportedVersion):
			return false, nil
		case err != nil:
			return false, javaError(err)
		}
		v.state, v.assignor = g.State, g.AssignorName
		v.epoch, v.targetEpoch = strconv.Itoa(int(g.Epoch)), strconv.Itoa(int(g.AssignmentEpoch))
		for _, m := range g.Members {
			mv := memberView{
				id: m.MemberID, client: m.ClientID, host: m.ClientHost, epoch: strconv.Itoa(int(m.MemberEpoch)), kind: m.MemberType,
				assigned: map[string][]int32{}, target: map[string][]int32{},
			}
			if m.InstanceID != nil {
				mv.instance = *m.InstanceID
			}
			for _, tp := range m.Assignment.TopicPartitions {
				mv.assigned[tp.Topic] = tp.Partitions
			}
			for _, tp := range m.TargetAssignment.TopicPartitions {
				mv.target[tp.Topic] = tp.Partitions
			}
			v.members = append(v.members, mv)
		}
	}
	return true, nil
}

func (t *groupsTool) viewClassic(ctx context.Context, v *groupView) error {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{v.id}
	resp, err := req.RequestWith(ctx, t.cl)
	if err != nil {
		return javaError(timedOut(err, "describeGroups"))
	}
	for _, g := range resp.Groups {
		if err := codeError(g.ErrorCode, g.ErrorMessage); err != nil {
			return javaError(err)
		}
		v.state, v.assignor = g.State, g.Protocol
		for _, m := range g.Members {
			mv := memberView{id: m.MemberID, client: m.ClientID, host: m.ClientHost, kind: -1, assigned: map[string][]int32{}}
			if m.InstanceID != nil {
				mv.instance = *m.InstanceID
			}
			a := kmsg.NewConsumerMemberAssignment()
			if len(m.MemberAssignment) > 0 && a.ReadFrom(m.MemberAssignment) == nil {
				for _, tp := range a.Topics {
					mv.assigned[tp.Topic] = tp.Partitions
				}
			}
			v.members = append(v.members, mv)
		}
	}
	return nil
}
