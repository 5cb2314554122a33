// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
)

// DeleteRecords: 0-2
//
// Behaviours:
//   - Moves the log start up to an offset, -1 meaning the high watermark, and
//     answers with the low watermark. Above the high watermark or negative:
//     OFFSET_OUT_OF_RANGE.
//   - Differs from Kafka: up to the log's end the request waits, within its
//     timeout, for the high watermark. On a durable topic a record that was
//     acknowledged with acks=1 is below it only after the next flush, and its
//     producer may delete it at once.
//   - A topic that is only compacted: POLICY_VIOLATION.
//   - An internal topic: INVALID_TOPIC_EXCEPTION.
//
// Versions:
//
//	0: KIP-107
//	1: throttling after the answer (KIP-219)
//	2: flexible

// Records removes records.
type Records struct {
	Partitions Finder
	// Internal tells whether a topic is the broker's own.
	Internal func(topic string) bool
}

// Routes are the family's rows of the table.
func (r *Records) Routes() []Route { return []Route{On(kmsg.DeleteRecords, 0, 2, r.delete)} }

func (r *Records) delete(ctx context.Context, _ *Call, req *kmsg.DeleteRecordsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrDeleteRecordsResponse()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(0, req.TimeoutMillis))*time.Millisecond)
	defer cancel()
	for _, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition = p.Partition
			low, err := r.one(ctx, t.Topic, p.Partition, p.Offset)
			if err != nil {
				low = -1
			}
			rp.LowWatermark, rp.ErrorCode = low, replica.Code(err)
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

func (r *Records) one(ctx context.Context, topic string, index int32, offset int64) (low int64, err error) {
	p, err := r.Partitions.Find(topic, index)
	if err != nil {
		return -1, err
	}
	if r.Internal(topic) {
		return -1, kerr.InvalidTopicException
	}
	upTo, end := offset, p.LogEnd()
	if offset == replica.HighWatermarkOffset {
		upTo = end
	}
	if epoch, leads := p.LeaderEpoch(); leads && upTo <= end && upTo > p.HighWatermark() {
		_ = p.Wait(ctx, upTo, epoch) // DeleteRecords sees what came of it
		if ctx.Err() != nil {
			return -1, kerr.RequestTimedOut
		}
	}
	return p.DeleteRecords(offset)
}
