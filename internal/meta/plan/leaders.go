// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/meta"
)

// ElectLeaders decides on elections that a person asks for.
func ElectLeaders(img *meta.Image, req *kmsg.ElectLeadersRequest, env Env) ([]meta.Record, *kmsg.ElectLeadersResponse, error) {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	kind := preferred
	switch req.ElectionType {
	case 0:
	case 1:
		kind = unclean
	default:
		return nil, nil, fail(kerr.InvalidRequest, "Unknown election type %d", req.ElectionType)
	}
	var records []meta.Record
	one := func(topic string, p int32) (meta.Record, error) { return electOne(img, &env, topic, p, kind) }
	add := func(t *kmsg.ElectLeadersResponseTopic, p int32, r meta.Record, err error) {
		a := kmsg.NewElectLeadersResponseTopicPartition()
		a.Partition = p
		a.ErrorCode, a.ErrorMessage = answer(err)
		t.Partitions = append(t.Partitions, a)
		if r != nil {
			records = append(records, r)
		}
	}
	if req.Topics == nil {
		// All partitions; those that need no election are left out.
		for topic := range img.Topics() {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = topic.Name
			for p := range topic.Partitions() {
				r, err := one(topic.Name, p)
				if code, _ := answer(err); code != kerr.ElectionNotNeeded.Code {
					add(&t, p, r, err)
				}
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	seen := map[place]bool{}
	for _, topic := range req.Topics {
		t := kmsg.NewElectLeadersResponseTopic()
		t.Topic = topic.Topic
		for _, p := range topic.Partitions {
			if seen[place{topic.Topic, p}] {
				continue // one election is enough, and two records would race
			}
			seen[place{topic.Topic, p}] = true
			r, err := one(topic.Topic, p)
			add(&t, p, r, err)
		}
		resp.Topics = append(resp.Topics, t)
	}
	if len(records) > maxRecords {
		return nil, nil, fail(kerr.PolicyViolation, "Unable to perform excessively large batch operation.")
	}
	return records, resp, nil
}

func electOne(img *meta.Image, env *Env, topic string, index int32, kind election) (meta.Record, error) {
	t := img.Topic(topic)
	if t == nil {
		return nil, fail(kerr.UnknownTopicOrPartition, "No such topic as %s", topic)
	}
	p := t.Partition(index)
	switch {
	case p == nil:
		return nil, fail(kerr.UnknownTopicOrPartition, "No such partition as %s-%d", topic, index)
	case kind == preferred && p.Leader == p.Replicas[0], kind == unclean && p.Leader != meta.NoLeader:
		return nil, bare(kerr.ElectionNotNeeded)
	}
	sc := &scene{img: img, env: env}
	next, changed := sc.settle(t, index, p, *p, kind)
	switch {
	case kind == preferred && next.Leader != p.Replicas[0]:
		return nil, bare(kerr.PreferredLeaderNotAvailable)
	case !changed || next.Leader == meta.NoLeader:
		return nil, bare(kerr.EligibleLeadersNotAvailable)
	}
	return meta.PartitionRecord{Topic: t.ID, Index: index, Partition: next}, nil
}

// InEpoch names a partition in the leader epoch that a broker knows.
type InEpoch struct {
	Topic     meta.UUID
	Partition int32
	Epoch     int32
}

// RaiseLeaderEpochs gives a leader that lost the end of its log in an unclean
// stop a new epoch, so that clients that read the lost part notice. Whatever
// the broker does not lead in that epoch (any more) is passed over.
func RaiseLeaderEpochs(img *meta.Image, broker int32, brokerEpoch int64, asked []InEpoch) ([]meta.Record, error) {
	if err := checkBrokerEpoch(img, broker, brokerEpoch); err != nil {
		return nil, err
	}
	var records []meta.Record
	for i, a := range asked {
		t := img.TopicByID(a.Topic)
		if t == nil || slices.Contains(asked[:i], a) {
			continue
		}
		p := t.Partition(a.Partition)
		if p == nil || p.Leader != broker || p.LeaderEpoch != a.Epoch {
			continue
		}
		next := *p
		next.LeaderEpoch++
		next.PartitionEpoch++
		records = append(records, meta.PartitionRecord{Topic: t.ID, Index: a.Partition, Partition: next})
	}
	return records, nil
}
