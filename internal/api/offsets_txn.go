// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/coord/txn"
)

// TxnOffsetCommit, key 28, versions 0-5
//
// Behaviours:
//   - Goes to the group's coordinator. The transaction's coordinator is asked
//     whether the group's partition of __consumer_offsets belongs to the
//     transaction (0-4), or adds it (5), before the first offsets.
//   - The offsets count when the transaction's marker says so.
//   - A rebalance that is under way does not refuse them; a wrong generation or
//     member does (3-5).
//
// Versions:
//
//	1  throttling after the answer (KIP-219)
//	2  leader epoch (KIP-320)
//	3  flexible; generation, member and instance (KIP-447)
//	4  TRANSACTION_ABORTABLE (KIP-890)
//	5  adds the group to the transaction (KIP-890)
func (g *Groups) commitInTxn(ctx context.Context, c *Call, req *kmsg.TxnOffsetCommitRequest) (kmsg.Response, error) {
	if c.Version < 3 {
		req.Generation, req.MemberID, req.InstanceID = -1, "", nil
	}
	resp := kmsg.NewPtrTxnOffsetCommitResponse()
	good := *req
	good.Topics = nil
	for _, t := range req.Topics {
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic = t.Topic
		gt := t
		gt.Partitions = nil
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			if g.Topics.HasPartition(t.Topic, p.Partition) {
				gt.Partitions = append(gt.Partitions, p)
			} else {
				rp.ErrorCode = kerr.UnknownTopicOrPartition.Code
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
	reply, err := g.writeInTxn(ctx, c, &good)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	// The coordinator's answers come in the order of what it was asked.
	var codes []int16
	if err == nil {
		for _, t := range reply.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, p.ErrorCode)
			}
		}
	} else if c.Version < 2 && errors.Is(err, kerr.CoordinatorLoadInProgress) {
		err = kerr.CoordinatorNotAvailable // the other one broke clients of that time
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

func (g *Groups) writeInTxn(ctx context.Context, c *Call, req *kmsg.TxnOffsetCommitRequest) (*kmsg.TxnOffsetCommitResponse, error) {
	if req.Group == "" {
		return nil, kerr.InvalidGroupID
	}
	guard, err := g.admitOffsets(ctx, c, req)
	if err != nil {
		return nil, err
	}
	reply, err := g.write(ctx, req.Group, func(s *group.Shard, now time.Time, _ coord.Ticket) coord.Result {
		return s.TxnCommit(now, req, guard)
	})
	if err != nil {
		return nil, err
	}
	return reply.(*kmsg.TxnOffsetCommitResponse), nil
}

// admitOffsets gets the guard for the first offsets of a transaction.
func (g *Groups) admitOffsets(ctx context.Context, c *Call, req *kmsg.TxnOffsetCommitRequest) (uint64, error) {
	gen := commitGeneration(c.Version)
	if g.Admission == nil || !g.Admission.needed(gen) {
		return 0, nil
	}
	p, ok := g.partition(req.Group)
	if !ok {
		return 0, kerr.NotCoordinator
	}
	part, err := g.Logs.Find(OffsetsTopic, p)
	if err != nil {
		return 0, coord.ClientError(err)
	}
	producer := coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	at := []txn.Partition{{Topic: OffsetsTopic, Partition: p}}
	// As with a Produce, the end of the transaction before may take the guard
	// away while the coordinator is asked.
	held := uint64(0)
	for range maxAsks {
		guard, err := part.BeginTxn(producer.ID, producer.Epoch, batch.NoSequence, gen == adding)
		if err != nil || guard == 0 || guard == held {
			return guard, coord.ClientError(err)
		}
		held = guard
		if err := g.Admission.Admit(ctx, req.TransactionalID, producer, at, gen)[0]; err != nil {
			return 0, coord.ClientError(err)
		}
	}
	return held, nil
}
