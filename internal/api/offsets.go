// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
)

// ListOffsets: 1-11
//
// Behaviours:
//   - Only the leader answers, but for the debugging replica id -2.
//   - A search by time gives the first record at or after it. Nothing found,
//     or only beyond what the isolation level may read: offset -1, no error.
//   - A partition named twice: INVALID_REQUEST.
//   - A special timestamp that the version does not have yet:
//     UNSUPPORTED_VERSION.
//   - The latest offset of a partition without other replicas waits for the
//     flush under way, 100 ms at most: after a produce with acks=1 it counts
//     what was produced, as in Kafka.
//   - While a new leader's high watermark is below the start of its epoch:
//     OFFSET_NOT_AVAILABLE for the latest offset and for what lies beyond.
//
// Versions:
//
//	1:  timestamp and offset instead of a list (KIP-79)
//	2:  isolation level (KIP-98), throttling
//	3:  throttling after the answer (KIP-219)
//	4:  leader epochs (KIP-320)
//	5:  OFFSET_NOT_AVAILABLE (KIP-207); older: LEADER_NOT_AVAILABLE
//	6:  flexible
//	7:  -3, the record with the largest timestamp (KIP-734)
//	8:  -4, earliest local (KIP-405)
//	9:  -5, latest tiered (KIP-1005)
//	10: time-out for remote storage (KIP-1075), not needed here
//	11: -6, earliest pending upload (KIP-1023)

// OffsetForLeaderEpoch: 2-4
//
// Behaviours:
//   - Gives the largest epoch at or below the one asked for, and where it
//     ends; of the current epoch the log end. Unknown: -1, -1.
//
// Versions:
//
//	2: fencing by the current leader epoch (KIP-320), throttling
//	3: replica id
//	4: flexible

// Offsets answers where records are.
type Offsets struct{ Partitions Finder }

// Finder finds a partition hosted here, or Kafka's error why it is not.
type Finder interface {
	Find(topic string, index int32) (*replica.Partition, error)
}

// Routes are the family's rows of the table.
func (o *Offsets) Routes() []Route {
	return []Route{
		On(kmsg.ListOffsets, 1, 11, o.list),
		On(kmsg.OffsetForLeaderEpoch, 2, 4, o.epochEnds),
	}
}

// Replica ids of ListOffsets that are no broker's.
const (
	consumerReplica  = -1
	debuggingReplica = -2
)

// firstVersion is the version of ListOffsets in which a special timestamp
// appears.
var firstVersion = map[int64]int16{
	replica.Latest: 1, replica.Earliest: 1, replica.MaxTimestamp: 7, replica.EarliestLocal: 8,
	replica.LatestTiered: 9, replica.EarliestPendingUpload: 11,
}

type topicPartition struct {
	topic     string
	partition int32
}

func (o *Offsets) list(ctx context.Context, c *Call, req *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	times := map[topicPartition]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			times[topicPartition{t.Topic, p.Partition}]++
		}
	}
	iso := replica.ReadAll
	if req.ReplicaID == consumerReplica {
		iso = replica.ReadUncommitted
		if req.IsolationLevel == 1 {
			iso = replica.ReadCommitted
		}
	}
	o.settle(ctx, req)
	resp := kmsg.NewPtrListOffsetsResponse()
	for _, t := range req.Topics {
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			key := topicPartition{t.Topic, p.Partition}
			if times[key] == 0 {
				continue // answered at its first place
			}
			rp := kmsg.NewListOffsetsResponseTopicPartition()
			rp.Partition = p.Partition
			rp.Offset, rp.Timestamp, rp.LeaderEpoch = -1, -1, -1
			if times[key] > 1 {
				rp.ErrorCode = kerr.InvalidRequest.Code
				times[key] = 0
			} else {
				o.one(&rp, t.Topic, p, iso, req.ReplicaID != debuggingReplica, c.Version)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

// settlePatience bounds how long a question for the latest offset waits for a
// flush: a few group commits of a slow disk.
const settlePatience = 100 * time.Millisecond

// settle waits for the flushes under way of the partitions whose latest offset
// is asked for. They are made in groups, so all together take as long as one.
func (o *Offsets) settle(ctx context.Context, req *kmsg.ListOffsetsRequest) {
	if req.ReplicaID != consumerReplica {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			if p.Timestamp != replica.Latest {
				continue
			}
			if part, err := o.Partitions.Find(t.Topic, p.Partition); err == nil {
				part.Settle(ctx)
			}
		}
	}
}

func (o *Offsets) one(rp *kmsg.ListOffsetsResponseTopicPartition, topic string, p kmsg.ListOffsetsRequestTopicPartition, iso replica.Isolation, leaderOnly bool, version int16) {
	if first, known := firstVersion[p.Timestamp]; p.Timestamp < 0 && (!known || version < first) {
		rp.ErrorCode = kerr.UnsupportedVersion.Code
		return
	}
	epoch := p.CurrentLeaderEpoch
	if version < 4 {
		epoch = replica.NoEpoch
	}
	part, err := o.Partitions.Find(topic, p.Partition)
	var at replica.OffsetAt
	if err == nil {
		at, err = part.OffsetAt(p.Timestamp, iso, epoch, leaderOnly)
	}
	if errors.Is(err, kerr.OffsetNotAvailable) && version < 5 {
		err = kerr.LeaderNotAvailable
	}
	if err != nil {
		rp.ErrorCode = replica.Code(err)
		return
	}
	rp.Offset, rp.Timestamp, rp.LeaderEpoch = at.Offset, at.Timestamp, at.LeaderEpoch
}

func (o *Offsets) epochEnds(_ context.Context, _ *Call, req *kmsg.OffsetForLeaderEpochRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition = p.Partition
			rp.LeaderEpoch, rp.EndOffset = -1, -1
			part, err := o.Partitions.Find(t.Topic, p.Partition)
			if err == nil {
				var end replica.EpochEnd
				end, err = part.EpochEnd(p.LeaderEpoch, p.CurrentLeaderEpoch)
				rp.LeaderEpoch, rp.EndOffset = end.Epoch, end.End
			}
			rp.ErrorCode = replica.Code(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}
