// SPDX-License-Identifier: Apache-2.0

package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
)

// Offsets committed within a transaction are in the log at once, but count only
// when the transaction's marker says that it committed. Until then they are
// pending: with the slot, by producer.
//
//	TxnCommit  --> record of producer p --> slot.pending[p]
//	marker commit of p --> the slot's offset, unless a later record is there
//	marker abort of p  --> gone
//
// A fetch of stable offsets is refused where something is pending (KIP-447):
// the new owner of a partition must not read from before a commit that is
// under way. Replaying the log does the same.

// pending is an offset of an open transaction.
type pending struct {
	producer int64
	offset   *Offset
}

// place says where a slot is.
type place struct {
	entry     *entry
	slot      *slot
	topic     string
	partition int32
}

var _ coord.Transactional = (*Shard)(nil)

// TxnCommit writes offsets into a client's transaction and answers with a
// *kmsg.TxnOffsetCommitResponse that has the request's topics in their order.
func (s *Shard) TxnCommit(now time.Time, req *kmsg.TxnOffsetCommitRequest, guard uint64) coord.Result {
	if g := s.group(req.Group); g != nil {
		if err := g.CheckTxnCommit(req.MemberID, req.InstanceID, req.Generation); err != nil {
			return coord.Result{Err: err}
		}
	} else if req.Generation >= 0 {
		return coord.Result{Err: kerr.IllegalGeneration}
	}
	r := coord.Result{Txn: &coord.InTxn{Producer: coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, Guard: guard}}
	reply := kmsg.NewPtrTxnOffsetCommitResponse()
	reply.Version = req.Version
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewTxnOffsetCommitResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			metadata := ""
			if p.Metadata != nil {
				metadata = *p.Metadata
			}
			if units(metadata) > s.cfg.MaxMetadata {
				rp.ErrorCode = kerr.OffsetMetadataTooLarge.Code
			} else {
				r.Records = append(r.Records, offsetRecord(req.Group, t.Topic, p.Partition, Offset{
					Offset: p.Offset, LeaderEpoch: max(p.LeaderEpoch, -1), Metadata: metadata,
					CommittedAt: now.UnixMilli(), ExpiresAt: -1,
				}))
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		reply.Topics = append(reply.Topics, rt)
	}
	s.stats.OffsetCommits += int64(len(r.Records))
	r.Reply = reply
	return r
}

// EndTxn writes a marker, and replies with true when it is committed.
func (s *Shard) EndTxn(m coord.Marker) coord.Result {
	return coord.Result{Marker: &m, Reply: true}
}

// ReplayInTxn applies a record of a transaction that is open there.
func (s *Shard) ReplayInTxn(offset int64, p coord.Producer, r coord.Record) error {
	kind, err := keyKind(r.Key)
	if err != nil {
		return err
	}
	if kind != keyOffset && kind != keyOffsetOld || r.Value == nil {
		return s.Replay(offset, r) // nobody writes such
	}
	k := kmsg.NewOffsetCommitKey()
	if err := k.ReadFrom(r.Key); err != nil {
		return err
	}
	o, err := readOffset(r.Value)
	if err != nil {
		return err
	}
	o.at = offset
	e, sl := s.makeSlot(offset, k.Group, k.Topic, k.Partition, o)
	for i := range sl.pending {
		if sl.pending[i].producer == p.ID {
			sl.pending[i].offset = o
			return nil
		}
	}
	sl.pending = append(sl.pending, pending{p.ID, o})
	e.open++
	s.open[p.ID] = append(s.open[p.ID], place{e, sl, k.Topic, k.Partition})
	return nil
}

// ReplayMarker ends a producer's transaction.
func (s *Shard) ReplayMarker(offset int64, p coord.Producer, commit bool) {
	places := s.open[p.ID]
	delete(s.open, p.ID)
	for _, at := range places {
		o := at.take(p.ID)
		if o == nil {
			continue // a tombstone came in between
		}
		// Of a plain commit and one in a transaction, the later record counts.
		// Which of the two came first in time must not depend on what compaction
		// has left.
		if commit && (at.slot.written == nil || at.slot.written.at < o.at) {
			at.slot.written = o
			s.enqueue(change{at: offset, entry: at.entry, topic: at.topic, partition: at.partition, slot: at.slot, offset: o})
			continue
		}
		s.tidySlot(at)
	}
}

// take removes a producer's pending offset.
func (at place) take(producer int64) *Offset {
	for i, p := range at.slot.pending {
		if p.producer == producer {
			at.slot.pending = append(at.slot.pending[:i], at.slot.pending[i+1:]...)
			at.entry.open--
			return p.offset
		}
	}
	return nil
}

// Unstable says whether a transaction that is open has an offset for the
// partition.
func (s *Shard) Unstable(group, topic string, partition int32) bool {
	e := s.groups[group]
	if e == nil || e.open == 0 {
		return false
	}
	sl := e.topics[topic][partition]
	return sl != nil && len(sl.pending) > 0
}
