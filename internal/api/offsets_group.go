// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/group"
)

// Offsets of groups. OffsetCommit 2-10, OffsetFetch 1-10, OffsetDelete 0.
//
// Behaviours:
//   - Topics and partitions that do not exist cannot be committed to
//     (UNKNOWN_TOPIC_OR_PARTITION); what was committed can be fetched until the
//     topic's deletion has gone round. Nothing committed is offset -1 and no
//     error.
//   - A fetch is answered from what is committed and does not wait; right after
//     an election it is COORDINATOR_LOAD_IN_PROGRESS until what the leader before
//     may have answered for is known to be committed. With
//     RequireStable it waits until all that was written before is committed, and
//     partitions with offsets in an open transaction are UNSTABLE_OFFSET_COMMIT.
//   - In version 10 topics have ids and no names. The id is kept with the
//     offset, so that a topic made anew under the same name does not inherit
//     it.
//
// Versions: OffsetCommit v2-4 retention time, v6 leader epoch (KIP-320), v7
// static members, v9 GROUP_ID_NOT_FOUND for unknown groups (KIP-848), v10 topic
// ids. OffsetFetch v2 null topics = all and a top-level error, v5 leader epoch,
// v7 RequireStable (KIP-447), v8 many groups (KIP-709), v9 member (KIP-848),
// v10 topic ids.

func (g *Groups) commitOffsets(ctx context.Context, c *Call, req *kmsg.OffsetCommitRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrOffsetCommitResponse()
	good := *req
	good.Topics = nil
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewOffsetCommitResponseTopic()
		var unknown error
		if c.Version >= 10 {
			if t.Topic = g.Topics.NameOf(t.TopicID); t.Topic == "" {
				unknown = kerr.UnknownTopicID
			}
		}
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		gt := *t
		gt.Partitions = nil
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case unknown != nil:
				rp.ErrorCode = coord.Code(unknown)
			case !g.Topics.HasPartition(t.Topic, p.Partition):
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				gt.Partitions = append(gt.Partitions, p)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(gt.Partitions) > 0 {
			good.Topics = append(good.Topics, gt)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if len(good.Topics) == 0 {
		return resp, nil
	}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, now time.Time, _ coord.Ticket) coord.Result {
		return s.Commit(now, &good)
	})
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	// The coordinator's answers come in the order of what it was asked.
	var codes []int16
	if err == nil {
		for _, t := range reply.(*kmsg.OffsetCommitResponse).Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	}
	n := 0
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			switch p := &resp.Topics[i].Partitions[j]; {
			case p.ErrorCode != 0:
			case err != nil:
				p.ErrorCode = coord.Code(err)
			default:
				p.ErrorCode = codes[n]
				n++
			}
		}
	}
	return resp, nil
}

func (g *Groups) fetchOffsets(ctx context.Context, c *Call, req *kmsg.OffsetFetchRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrOffsetFetchResponse()
	if c.Version >= 8 {
		all, told := once[string]{}, once[toldOffset]{}
		for i := range req.Groups {
			if req.Groups[i].Topics == nil && !all.first(req.Groups[i].Group) {
				continue
			}
			dropTold(told, &req.Groups[i])
			rg, err := g.fetchGroup(ctx, c, &req.Groups[i], req.RequireStable)
			if err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				rg = kmsg.NewOffsetFetchResponseGroup()
				rg.Group, rg.ErrorCode = req.Groups[i].Group, coord.Code(err)
			}
			resp.Groups = append(resp.Groups, rg)
		}
		return resp, nil
	}

	// Until version 7 one group is asked for, and laid out without its name.
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = req.Group
	if req.Topics != nil {
		one.Topics = make([]kmsg.OffsetFetchRequestGroupTopic, 0, len(req.Topics))
	}
	for _, t := range req.Topics {
		one.Topics = append(one.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	dropTold(once[toldOffset]{}, &one)
	rg, err := g.fetchGroup(ctx, c, &one, req.RequireStable)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		resp.ErrorCode = coord.Code(err)
		if c.Version >= 2 {
			return resp, nil
		}
		for _, t := range one.Topics { // version 1 has no other place for it
			rg.Topics = append(rg.Topics, fetchError(t, err))
		}
	}
	for _, t := range rg.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, kmsg.OffsetFetchResponseTopicPartition{
				Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch,
				Metadata: p.Metadata, ErrorCode: p.ErrorCode,
			})
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

// toldOffset is an offset that an answer tells; the metadata with it may be a
// thousand times what asks for it.
type toldOffset struct {
	group, topic string
	id           [16]byte
	partition    int32
}

// dropTold takes out of a group's topics what was asked for before.
func dropTold(told once[toldOffset], q *kmsg.OffsetFetchRequestGroup) {
	for i := range q.Topics {
		t := &q.Topics[i]
		t.Partitions = slices.DeleteFunc(t.Partitions, func(p int32) bool {
			return !told.first(toldOffset{q.Group, t.Topic, t.TopicID, p})
		})
	}
}

// fetchGroup answers for one group, whose topics are nil for all of them.
func (g *Groups) fetchGroup(ctx context.Context, c *Call, req *kmsg.OffsetFetchRequestGroup, stable bool) (kmsg.OffsetFetchResponseGroup, error) {
	byID := c.Version >= 10
	var rg kmsg.OffsetFetchResponseGroup
	answer := func(s *group.Shard, v group.View) {
		if req.Topics == nil {
			rg = g.allOffsets(s, v, req.Group, byID)
		} else {
			rg = g.someOffsets(s, v, req, byID)
		}
		if stable {
			refuseUnstable(s, &rg)
		}
	}
	var err error
	if stable {
		_, err = g.write(ctx, req.Group, func(s *group.Shard, _ time.Time, _ coord.Ticket) coord.Result {
			answer(s, group.Written)
			return coord.Result{Reply: true} // when what was seen is committed
		})
		if errors.Is(err, kerr.CoordinatorNotAvailable) {
			// Consumers before 3.9 give up on it, and this makes them look the
			// coordinator up again.
			err = kerr.NotCoordinator
		}
	} else {
		err = g.read(ctx, req.Group, func(s *group.Shard) { answer(s, group.Committed) })
	}
	if err != nil {
		return kmsg.OffsetFetchResponseGroup{}, err
	}
	return rg, nil
}

func (g *Groups) someOffsets(s *group.Shard, v group.View, req *kmsg.OffsetFetchRequestGroup, byID bool) kmsg.OffsetFetchResponseGroup {
	rg := kmsg.NewOffsetFetchResponseGroup()
	rg.Group = req.Group
	rg.Topics = make([]kmsg.OffsetFetchResponseGroupTopic, 0, len(req.Topics))
	for _, t := range req.Topics {
		if byID {
			if t.Topic = g.Topics.NameOf(t.TopicID); t.Topic == "" {
				rg.Topics = append(rg.Topics, fetchError(t, kerr.UnknownTopicID))
				continue
			}
		}
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, 0, len(t.Partitions))
		for _, p := range t.Partitions {
			rt.Partitions = append(rt.Partitions, committedOffset(p, s.Fetch(v, req.Group, t.Topic, t.TopicID, p)))
		}
		rg.Topics = append(rg.Topics, rt)
	}
	return rg
}

func (g *Groups) allOffsets(s *group.Shard, v group.View, id string, byID bool) kmsg.OffsetFetchResponseGroup {
	rg := kmsg.NewOffsetFetchResponseGroup()
	rg.Group = id
	s.FetchAll(v, id, func(topic string, partition int32, o *group.Offset) {
		n := len(rg.Topics)
		if n == 0 || rg.Topics[n-1].Topic != topic {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic = topic
			if byID {
				if rt.TopicID = g.Topics.IDOf(topic); rt.TopicID == [16]byte{} {
					return // cannot be told without an id
				}
			}
			rg.Topics = append(rg.Topics, rt)
			n++
		}
		rt := &rg.Topics[n-1]
		rt.Partitions = append(rt.Partitions, committedOffset(partition, o))
	})
	return rg
}

// refuseUnstable says of which partitions a transaction that is open has offsets
// (KIP-447).
func refuseUnstable(s *group.Shard, rg *kmsg.OffsetFetchResponseGroup) {
	for i := range rg.Topics {
		t := &rg.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode == 0 && s.Unstable(rg.Group, t.Topic, p.Partition) {
				*p = committedOffset(p.Partition, nil)
				p.ErrorCode = kerr.UnstableOffsetCommit.Code
			}
		}
	}
}

// committedOffset is the answer for one partition; a nil offset is none.
func committedOffset(partition int32, o *group.Offset) kmsg.OffsetFetchResponseGroupTopicPartition {
	rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	rp.Partition = partition
	rp.Offset, rp.LeaderEpoch, rp.Metadata = -1, -1, kmsg.StringPtr("")
	if o != nil {
		rp.Offset, rp.LeaderEpoch, rp.Metadata = o.Offset, o.LeaderEpoch, &o.Metadata
	}
	return rp
}

func fetchError(t kmsg.OffsetFetchRequestGroupTopic, err error) kmsg.OffsetFetchResponseGroupTopic {
	rt := kmsg.NewOffsetFetchResponseGroupTopic()
	rt.Topic, rt.TopicID = t.Topic, t.TopicID
	for _, p := range t.Partitions {
		rp := committedOffset(p, nil)
		rp.ErrorCode = coord.Code(err)
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt
}

func (g *Groups) deleteOffsets(ctx context.Context, _ *Call, req *kmsg.OffsetDeleteRequest) (kmsg.Response, error) {
	if req.Group == "" {
		return nil, kerr.InvalidGroupID
	}
	resp := kmsg.NewPtrOffsetDeleteResponse()
	at := map[string]int{} // in resp.Topics
	good := *req
	good.Topics = nil
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		gt := t
		gt.Partitions = nil
		for _, p := range t.Partitions {
			if g.Topics.HasPartition(t.Topic, p.Partition) {
				gt.Partitions = append(gt.Partitions, p)
				continue
			}
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.UnknownTopicOrPartition.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(gt.Partitions) > 0 {
			good.Topics = append(good.Topics, gt)
		}
		if len(rt.Partitions) > 0 {
			at[t.Topic] = len(resp.Topics)
			resp.Topics = append(resp.Topics, rt)
		}
	}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, _ time.Time, _ coord.Ticket) coord.Result {
		return s.DeleteOffsets(&good)
	})
	if err != nil {
		return nil, err
	}
	for _, t := range reply.(*kmsg.OffsetDeleteResponse).Topics {
		if i, ok := at[t.Topic]; ok {
			resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, t.Partitions...)
		} else {
			resp.Topics = append(resp.Topics, t)
		}
	}
	return resp, nil
}
