// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
)

// DescribeProducers: 0
//
// Behaviours:
//   - Only the leader answers (KIP-664); the producers with state in the
//     partition, with the start of an open transaction.

// Producers answers what producers left.
type Producers struct {
	Partitions Finder
	// ValidName tells what is wrong with a topic's name, nil if nothing.
	ValidName func(topic string) error
}

// Routes are the family's rows of the table.
func (p *Producers) Routes() []Route {
	return []Route{
		On(kmsg.DescribeProducers, 0, 0, p.describe),
	}
}

func (p *Producers) describe(_ context.Context, _ *Call, req *kmsg.DescribeProducersRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrDescribeProducersResponse()
	told := once[topicPartition]{}
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		bad := p.ValidName(t.Topic)
		for _, i := range t.Partitions {
			if !told.first(topicPartition{t.Topic, i}) {
				continue
			}
			rp := kmsg.NewDescribeProducersResponseTopicPartition()
			rp.Partition = i
			err := bad
			if err == nil {
				err = p.active(&rp, t.Topic, i)
			}
			if err != nil {
				rp.ErrorCode = replica.Code(err)
				text := err.Error()
				rp.ErrorMessage = &text
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp, nil
}

func (p *Producers) active(rp *kmsg.DescribeProducersResponseTopicPartition, topic string, index int32) error {
	part, err := p.Partitions.Find(topic, index)
	if err != nil {
		return err
	}
	states, err := part.Producers()
	for _, s := range states {
		a := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		a.ProducerID, a.ProducerEpoch, a.LastSequence = s.ProducerID, int32(s.Epoch), s.LastSequence
		a.LastTimestamp, a.CoordinatorEpoch, a.CurrentTxnStartOffset = s.LastTimestamp, s.CoordinatorEpoch, s.TxnStart
		rp.ActiveProducers = append(rp.ActiveProducers, a)
	}
	return err
}
