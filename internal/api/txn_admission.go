// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/txn"
)

// Admission asks the transaction's coordinator, here or on another node,
// whether partitions led here belong to a transaction, before the first batch
// of it is appended. Clients of transaction version 2 have them added by it.
//
// Source: AddPartitionsToTxnManager, ReplicaManager.maybeSendPartitionsToTransactionCoordinator.
type Admission struct {
	Cluster GroupCluster
	Self    int32
	// Here is the coordinator of this node.
	Here *Txns
	// Ask sends an AddPartitionsToTxn to another node; nil on a node that is
	// alone.
	Ask func(ctx context.Context, node int32, req *kmsg.AddPartitionsToTxnRequest) (*kmsg.AddPartitionsToTxnResponse, error)
	// Enabled is transaction.partition.verification.enable: old clients may be
	// let in without asking.
	Enabled func() bool
	// Timeout bounds the wait (request.timeout.ms).
	Timeout time.Duration
}

// generation is what a client's request version says of it.
type generation int8

const (
	oldClient generation = iota // TRANSACTION_ABORTABLE is not known
	abortable                   // it is
	adding                      // partitions are added by the first write
)

func produceGeneration(version int16) generation {
	switch {
	case version > 11:
		return adding
	case version > 10:
		return abortable
	}
	return oldClient
}

func commitGeneration(version int16) generation {
	switch {
	case version > 4:
		return adding
	case version > 3:
		return abortable
	}
	return oldClient
}

// needed tells whether clients of a generation are to be asked for.
func (a *Admission) needed(g generation) bool { return g == adding || a.Enabled() }

// Admit returns an error for each partition, in Kafka's words for a producer.
func (a *Admission) Admit(ctx context.Context, id string, p coord.Producer, ps []txn.Partition, g generation) []error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	errs := a.ask(ctx, id, p, ps, g)
	for i, err := range errs {
		switch {
		case errors.Is(err, kerr.ProducerFenced):
			errs[i] = kerr.InvalidProducerEpoch
		case errors.Is(err, kerr.TransactionAbortable) && g == oldClient:
			errs[i] = kerr.InvalidTxnState
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			errs[i] = kerr.NetworkException // not told, so not let in; to be asked again
		}
	}
	return errs
}

func (a *Admission) ask(ctx context.Context, id string, p coord.Producer, ps []txn.Partition, g generation) []error {
	n := a.Cluster.InternalPartitions(TxnTopic)
	if n <= 0 || id == "" {
		return same(len(ps), kerr.InvalidProducerIDMapping)
	}
	node, ok := a.Cluster.Leads(TxnTopic, coord.PartitionFor(id, n))
	switch {
	case !ok:
		return same(len(ps), kerr.CoordinatorNotAvailable)
	case node != a.Self && a.Ask != nil:
		return a.askNode(ctx, node, id, p, ps, g)
	case g == adding:
		if errs := a.Here.check(ps, false); errs != nil {
			return errs
		}
		return same(len(ps), a.Here.Add(ctx, id, p, ps, 2, a.Here.AddWait))
	}
	return a.Here.Verify(ctx, id, p, ps)
}

func (a *Admission) askNode(ctx context.Context, node int32, id string, p coord.Producer, ps []txn.Partition, g generation) []error {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version = 5
	t := kmsg.NewAddPartitionsToTxnRequestTransaction()
	t.TransactionalID, t.ProducerID, t.ProducerEpoch, t.VerifyOnly = id, p.ID, p.Epoch, g != adding
	for _, x := range ps {
		if n := len(t.Topics); n == 0 || t.Topics[n-1].Topic != x.Topic {
			t.Topics = append(t.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: x.Topic})
		}
		last := &t.Topics[len(t.Topics)-1]
		last.Partitions = append(last.Partitions, x.Partition)
	}
	req.Transactions = append(req.Transactions, t)
	resp, err := a.Ask(ctx, node, req)
	switch {
	case err != nil:
		return same(len(ps), kerr.NetworkException)
	case resp.ErrorCode == kerr.ClusterAuthorizationFailed.Code:
		return same(len(ps), kerr.InvalidTxnState)
	case resp.ErrorCode != 0:
		return same(len(ps), kerr.ErrorForCode(resp.ErrorCode))
	}
	// What the answer does not name was not let in.
	codes := map[txn.Partition]int16{}
	for _, rt := range resp.Transactions {
		for _, topic := range rt.Topics {
			for _, part := range topic.Partitions {
				codes[txn.Partition{Topic: topic.Topic, Partition: part.Partition}] = part.ErrorCode
			}
		}
	}
	errs := make([]error, len(ps))
	for i, x := range ps {
		if code, ok := codes[x]; ok {
			errs[i] = kerr.ErrorForCode(code)
		} else {
			errs[i] = kerr.NetworkException
		}
	}
	return errs
}
