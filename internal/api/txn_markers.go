// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/group"
	"gregor/internal/replica"
)

// WriteTxnMarkers, key 27, versions 1-2
//
// Behaviours:
//   - Comes from transaction coordinators, and from admin clients that abort a
//     transaction which no coordinator knows.
//   - Each partition gets its marker and answers when it is committed; those of
//     __consumer_offsets through the group coordinator, which applies it.
//   - Only the leader writes. A producer or coordinator that the partition has
//     seen go on is refused: INVALID_PRODUCER_EPOCH,
//     TRANSACTION_COORDINATOR_FENCED.
//
// Versions:
//
//	1  flexible
//	2  transaction version: from 2 on the epoch must be above the records'
//	   (KIP-1228)

// Markers writes the ends of transactions into partitions led here.
type Markers struct {
	Partitions Finder
	Groups     GroupShards
	// Timeout bounds the wait for the commit (request.timeout.ms).
	Timeout time.Duration
}

// Routes are the family's rows of the table.
func (m *Markers) Routes() []Route {
	return []Route{On(kmsg.WriteTxnMarkers, 1, 2, m.serve)}
}

func (m *Markers) serve(ctx context.Context, _ *Call, req *kmsg.WriteTxnMarkersRequest) (kmsg.Response, error) {
	resp := m.Write(ctx, req)
	return resp, ctx.Err()
}

// placed is a marker in one partition.
type placed struct {
	code *int16 // in the response
	part *replica.Partition
	upTo int64
	at   int32 // leader epoch
}

// maxGroupMarkers is how many partitions of the groups' topic one request writes
// to at a time: a goroutine each. There are 50 of them by default.
const maxGroupMarkers = 64

// Write writes markers and waits until they are committed.
func (m *Markers) Write(ctx context.Context, req *kmsg.WriteTxnMarkersRequest) *kmsg.WriteTxnMarkersResponse {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	resp := kmsg.NewPtrWriteTxnMarkersResponse()
	resp.Version = req.Version
	for i := range req.Markers {
		q := &req.Markers[i]
		rm := kmsg.NewWriteTxnMarkersResponseMarker()
		rm.ProducerID = q.ProducerID
		for _, t := range q.Topics {
			rt := kmsg.NewWriteTxnMarkersResponseMarkerTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewWriteTxnMarkersResponseMarkerTopicPartition()
				rp.Partition = p
				rt.Partitions = append(rt.Partitions, rp)
			}
			rm.Topics = append(rm.Topics, rt)
		}
		resp.Markers = append(resp.Markers, rm)
	}
	var groups sync.WaitGroup
	slots := make(chan struct{}, maxGroupMarkers)
	var waits []placed
	for i := range req.Markers {
		q := &req.Markers[i]
		version := int16(0)
		if req.Version >= 2 {
			version = int16(q.TransactionVersion)
		}
		c := coord.Marker{
			Producer: coord.Producer{ID: q.ProducerID, Epoch: q.ProducerEpoch}, Commit: q.Committed,
			CoordinatorEpoch: q.CoordinatorEpoch, TxnVersion: version,
		}
		for j, t := range q.Topics {
			for k, p := range t.Partitions {
				code := &resp.Markers[i].Topics[j].Partitions[k].ErrorCode
				if t.Topic == OffsetsTopic {
					slots <- struct{}{}
					groups.Go(func() {
						*code = coord.Code(m.endInGroups(ctx, p, c))
						<-slots
					})
					continue
				}
				w, err := m.place(t.Topic, p, c)
				if err != nil {
					*code = replica.Code(err)
					continue
				}
				w.code = code
				waits = append(waits, w)
			}
		}
	}
	for _, w := range waits {
		*w.code = replica.Code(w.part.Wait(ctx, w.upTo, w.at))
	}
	groups.Wait()
	return resp
}

// place appends one marker.
func (m *Markers) place(topic string, index int32, c coord.Marker) (placed, error) {
	part, err := m.Partitions.Find(topic, index)
	if err != nil {
		return placed{}, err
	}
	kind := batch.Abort
	if c.Commit {
		kind = batch.Commit
	}
	v := batch.EndTxnMarker(kind, time.Now().UnixMilli(), c.Producer.ID, c.Producer.Epoch, c.CoordinatorEpoch)
	r, err := part.Append(v, -1, replica.AppendOptions{
		Origin: replica.FromCoordinator, ExpectedEpoch: replica.NoEpoch, TxnVersion: c.TxnVersion,
	})
	if err != nil {
		return placed{}, err
	}
	return placed{part: part, upTo: r.LastOffset + 1, at: r.LeaderEpoch}, nil
}

// endInGroups has the group coordinator write the marker and apply it.
func (m *Markers) endInGroups(ctx context.Context, partition int32, c coord.Marker) error {
	_, err := m.Groups.Write(ctx, partition, func(s *group.Shard, _ time.Time, _ coord.Ticket) coord.Result {
		return s.EndTxn(c)
	})
	switch {
	case errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.CoordinatorLoadInProgress), errors.Is(err, kerr.NotCoordinator):
		return kerr.NotLeaderForPartition // the transaction coordinator tries again
	case errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut
	}
	return err
}
