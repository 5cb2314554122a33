// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/coord"
	"gregor/internal/coord/txn"
)

// admitted is what became of a partition whose transaction begins.
type admitted struct {
	guard uint64
	err   error
}

// beginning is a partition in which a request begins a transaction.
type beginning struct {
	i    int // in s.first
	part Partition
	v    batch.View
	at   txn.Partition
}

// admit asks the coordinator about the partitions in which this request begins
// a transaction; all others have an open one, and are not asked for. The error
// is the whole request's.
func (s *produced) admit(ctx context.Context, q *produceRequest) error {
	a := s.p.cfg.Admission
	g := produceGeneration(q.version)
	if a == nil || !a.needed(g) {
		return s.oneProducer(q, nil)
	}
	var asked []beginning
	err := s.oneProducer(q, func(i int, part Partition, index int32, v batch.View) {
		guard, err := begin(part, v, g)
		if guard == 0 && err == nil {
			return
		}
		if s.first == nil {
			s.first = make([]admitted, q.partitions)
		}
		s.first[i] = admitted{guard, err}
		if err == nil {
			asked = append(asked, beginning{i, part, v, txn.Partition{Topic: part.Topic(), Partition: index}})
		}
	})
	if err != nil {
		return err
	}
	// The coordinator may have waited for the end of the transaction before,
	// whose marker took the guard away: then it is asked again, which it can
	// answer at once.
	for try := 0; len(asked) > 0 && try < maxAsks; try++ {
		ps := make([]txn.Partition, len(asked))
		for i, b := range asked {
			ps[i] = b.at
		}
		p := coord.Producer{ID: asked[0].v.ProducerID(), Epoch: asked[0].v.ProducerEpoch()}
		var again []beginning
		for i, err := range a.Admit(ctx, string(q.transactionalID), p, ps, g) {
			b := asked[i]
			first := &s.first[b.i]
			if first.err = producerError(err, g); err != nil {
				continue
			}
			guard, err := begin(b.part, b.v, g)
			switch lost := guard != 0 && guard != first.guard; {
			case err != nil:
				first.err = err
			case !lost:
				first.guard = guard
			case try+1 < maxAsks:
				first.guard = guard
				again = append(again, b)
			} // else the append brings the one that was lost: nobody was asked about the next
		}
		asked = again
	}
	return nil
}

// maxAsks bounds how often a guard may be lost: once by the transaction before;
// more is another instance at work, and the append will be refused.
const maxAsks = 3

func begin(part Partition, v batch.View, g generation) (uint64, error) {
	return part.BeginTxn(v.ProducerID(), v.ProducerEpoch(), v.BaseSequence(), g == adding)
}

// oneProducer calls fn, unless nil, for the partitions that are here with a
// transactional batch, i being their place in the request. All batches must be of one producer.
func (s *produced) oneProducer(q *produceRequest, fn func(i int, part Partition, index int32, v batch.View)) error {
	first := coord.Producer{ID: batch.NoProducerID}
	t, i := q.topics, -1
	var err error
	for topics := t.array(1); topics > 0; topics-- {
		name, id := produceTopic(&t, q.version)
		for n := t.array(1); n > 0; n-- {
			index, v := t.i32(), batch.View(t.bytes())
			t.tags(nil)
			i++
			if len(v) < batch.HeaderSize || !v.Attributes().Transactional() || !v.HasProducerID() {
				continue
			}
			p := coord.Producer{ID: v.ProducerID(), Epoch: v.ProducerEpoch()}
			if first.ID == batch.NoProducerID {
				first = p
			}
			if p != first {
				err = &refusalOf{kerr.InvalidProducerIDMapping, "transactional batches of more than one producer"}
			}
			if fn == nil || err != nil {
				continue
			}
			var part Partition
			var missing error
			if q.version >= 13 {
				part, missing = s.p.cfg.Partitions.GetByID(id, index)
			} else {
				part, missing = s.p.cfg.Partitions.Get(name, index)
			}
			if missing == nil { // else the append will say so
				fn(i, part, index, v)
			}
		}
		t.tags(nil)
	}
	return err
}

// refusalOf is one of Kafka's errors with a reason.
type refusalOf struct {
	err *kerr.Error
	why string
}

func (r *refusalOf) Error() string { return r.why }
func (r *refusalOf) Unwrap() error { return r.err }

// producerError turns what a coordinator says into what a producer of a
// generation retries.
// Source: ReplicaManager.handleProduceAppend, postVerificationCallback.
func producerError(err error, g generation) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.InvalidTxnState):
		return &refusalOf{kerr.InvalidTxnState, "the partition was not added to the transaction"}
	case errors.Is(err, kerr.NetworkException), errors.Is(err, kerr.CoordinatorLoadInProgress),
		errors.Is(err, kerr.CoordinatorNotAvailable), errors.Is(err, kerr.NotCoordinator),
		errors.Is(err, kerr.ConcurrentTransactions) && g != adding:
		return &refusalOf{kerr.NotEnoughReplicas, fmt.Sprintf("the transaction's coordinator does not confirm the partition: %v", err)}
	}
	return err
}
