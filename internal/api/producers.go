// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/replica"
)

// InitProducerID: 0-5
//
// Behaviours:
//   - Without a transactional id: a new producer id with epoch 0, whatever
//     else the request says.
//   - With one, the transaction coordinator would have to be asked. It is not
//     there, which Kafka says by COORDINATOR_NOT_AVAILABLE.
//   - An empty transactional id, or only one of producer id and epoch:
//     INVALID_REQUEST.
//
// Versions:
//
//	0: KIP-98
//	1: throttling after the answer (KIP-219)
//	2: flexible
//	3: producer id and epoch to go on with (KIP-360)
//	4: PRODUCER_FENCED (KIP-588)
//	5: TRANSACTION_ABORTABLE (KIP-890)

// DescribeProducers: 0
//
// Behaviours:
//   - Only the leader answers (KIP-664); the producers with state in the
//     partition, with the start of an open transaction.

// Producers answers what producers need and what they left.
type Producers struct {
	Partitions Finder
	IDs        ProducerIDs
	// ValidName tells what is wrong with a topic's name, nil if nothing.
	ValidName func(topic string) error
}

// ProducerIDs gives each caller an id of its own.
type ProducerIDs interface {
	Next(ctx context.Context) (int64, error)
}

// Routes are the family's rows of the table.
func (p *Producers) Routes() []Route {
	return []Route{
		On(kmsg.InitProducerID, 0, 5, p.initID),
		On(kmsg.DescribeProducers, 0, 0, p.describe),
	}
}

func (p *Producers) initID(ctx context.Context, c *Call, req *kmsg.InitProducerIDRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, 0
	fail := func(err error) (kmsg.Response, error) {
		resp.ErrorCode = replica.Code(err)
		return resp, nil
	}
	id, epoch := req.ProducerID, req.ProducerEpoch
	if c.Version < 3 {
		id, epoch = -1, -1
	}
	switch {
	case (id == -1) != (epoch == -1):
		return fail(kerr.InvalidRequest)
	case req.TransactionalID != nil && *req.TransactionalID == "":
		return fail(kerr.InvalidRequest)
	case req.TransactionalID != nil:
		return fail(kerr.CoordinatorNotAvailable)
	}
	next, err := p.IDs.Next(ctx)
	if err != nil {
		return fail(err)
	}
	resp.ProducerID = next
	return resp, nil
}

func (p *Producers) describe(_ context.Context, _ *Call, req *kmsg.DescribeProducersRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrDescribeProducersResponse()
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeProducersResponseTopic()
		rt.Topic = t.Topic
		bad := p.ValidName(t.Topic)
		for _, i := range t.Partitions {
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
