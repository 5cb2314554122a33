// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s-%d", tp.topic, tp.partition) }

func compareTP(a, b topicPartition) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

func topicsOf(list []topicPartition) []string {
	var out []string
	for _, tp := range list {
		out = append(out, tp.topic)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// listAtTime asks for the first offset at or after a time (or one of the
// special times, below zero); -1 where there is none.
func listAtTime(ctx context.Context, cl *kgo.Client, list []topicPartition, ms int64) (map[topicPartition]int64, error) {
	req := listOffsetsRequest(list, ms)
	out := map[topicPartition]int64{}
	if len(list) == 0 {
		return out, nil
	}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, timedOut(shard.Err, "listOffsets")
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range rt.Partitions {
				if err := codeError(p.ErrorCode, nil); err != nil {
					return nil, err
				}
				out[topicPartition{rt.Topic, p.Partition}] = p.Offset
			}
		}
	}
	return out, nil
}

func listOffsetsRequest(list []topicPartition, ms int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for _, topic := range topicsOf(list) {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for _, tp := range list {
			if tp.topic == topic {
				p := kmsg.NewListOffsetsRequestTopicPartition()
				p.Partition, p.Timestamp, p.CurrentLeaderEpoch = tp.partition, ms, -1
				rt.Partitions = append(rt.Partitions, p)
			}
		}
		req.Topics = append(req.Topics, rt)
	}
	return req
}
