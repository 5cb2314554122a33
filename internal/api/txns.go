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

// Transactions, as their coordinator sees them. InitProducerId 0-5,
// AddPartitionsToTxn 0-5, AddOffsetsToTxn 0-4, EndTxn 0-5,
// DescribeTransactions 0, ListTransactions 0-2.
//
// Behaviours:
//   - A transactional id lives on the leader of the partition of
//     __transaction_state that it hashes to; FindCoordinator says which broker
//     that is.
//   - InitProducerId without a transactional id gives a new producer id with
//     epoch 0. With one it raises the epoch, which fences whoever had it; a
//     transaction that is open is aborted and the caller told
//     CONCURRENT_TRANSACTIONS until that is done.
//   - AddPartitionsToTxn comes from old clients (0-3, one transaction), and from
//     partition leaders on behalf of others (4-5, many), which may only ask
//     whether a partition was added (VerifyOnly). Unknown partitions, or the
//     brokers' own from a client, refuse the whole transaction.
//   - EndTxn answers when the decision is committed; the markers follow.
//   - All wait until what they wrote is committed.
//   - Versions that do not know PRODUCER_FENCED get INVALID_PRODUCER_EPOCH.
//
// Versions: InitProducerId v1 throttling after the answer (KIP-219), v2
// flexible, v3 producer id and epoch to go on with (KIP-360), v4 PRODUCER_FENCED
// (KIP-588), v5 TRANSACTION_ABORTABLE (KIP-890). AddPartitionsToTxn v1 throttling,
// v2 PRODUCER_FENCED, v3 flexible, v4 batches and verification, v5
// TRANSACTION_ABORTABLE (KIP-890). AddOffsetsToTxn v1, v2, v3 likewise, v4
// TRANSACTION_ABORTABLE. EndTxn v1, v2, v3, v4 likewise, v5 raises the epoch
// (KIP-890). ListTransactions v1 duration filter (KIP-994), v2 pattern
// (KIP-1152).
type Txns struct {
	Shards  TxnShards
	Cluster GroupCluster
	Topics  GroupTopics
	IDs     ProducerIDs

	// AddWait is how long a partition leader's request may wait for the markers
	// of the transaction before (add.partitions.to.txn.retry.backoff.max.ms).
	AddWait time.Duration

	// Pending are the partitions whose markers are still to be written, of an
	// id whose transaction is being ended; false: that is not known.
	Pending func(id string) ([]txn.Partition, bool)
}

// TxnTopic is where transactional ids live.
const TxnTopic = "__transaction_state"

// TxnShards runs operations on the shards of the transaction coordinators that
// are here. *coord.Runtime[*txn.Shard] meets it.
type TxnShards interface {
	Write(ctx context.Context, partition int32, op func(s *txn.Shard, now time.Time, t coord.Ticket) coord.Result) (any, error)
	Read(ctx context.Context, partition int32, op func(s *txn.Shard)) error
	ReadAll(ctx context.Context, op func(partition int32, s *txn.Shard)) error
}

// ProducerIDs gives each caller an id of its own.
type ProducerIDs interface {
	Next(ctx context.Context) (int64, error)
}

// Routes are the rows of the table.
func (x *Txns) Routes() []Route {
	return []Route{
		On(kmsg.InitProducerID, 0, 5, x.init),
		On(kmsg.AddPartitionsToTxn, 0, 5, x.addPartitions),
		On(kmsg.AddOffsetsToTxn, 0, 4, x.addOffsets),
		On(kmsg.EndTxn, 0, 5, x.end),
		On(kmsg.DescribeTransactions, 0, 0, x.describe),
		On(kmsg.ListTransactions, 0, 2, x.list),
	}
}

// partition returns the one that coordinates the transactional id.
func (x *Txns) partition(id string) (int32, bool) {
	n := x.Cluster.InternalPartitions(TxnTopic)
	if n <= 0 {
		return 0, false
	}
	return coord.PartitionFor(id, n), true
}

// write runs op on the id's shard. Its error is one that a client may see, or
// the end of ctx. op is called again with a producer id where it needs one.
func (x *Txns) write(ctx context.Context, id string, op func(s *txn.Shard, now time.Time, t coord.Ticket, next int64) coord.Result) (any, error) {
	if id == "" {
		return nil, kerr.InvalidRequest
	}
	p, ok := x.partition(id)
	if !ok {
		return nil, kerr.NotCoordinator
	}
	next := txn.NoProducer
	for {
		reply, err := x.Shards.Write(ctx, p, func(s *txn.Shard, now time.Time, t coord.Ticket) coord.Result {
			return op(s, now, t, next)
		})
		if !errors.Is(err, txn.ErrNeedProducer) {
			return reply, coord.ClientError(err)
		}
		if next, err = x.IDs.Next(ctx); err != nil {
			return nil, err
		}
	}
}

// known gives the error that a client of a version understands, from which
// knows PRODUCER_FENCED from since on.
func known(err error, version, since int16) int16 {
	if version < since && errors.Is(err, kerr.ProducerFenced) {
		return kerr.InvalidProducerEpoch.Code
	}
	return coord.Code(err)
}

// --- InitProducerId

func (x *Txns) init(ctx context.Context, c *Call, req *kmsg.InitProducerIDRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrInitProducerIDResponse()
	p, err := x.initialise(ctx, c, req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p = coord.Producer{ID: txn.NoProducer}
		if !errors.Is(err, kerr.InvalidRequest) {
			p.Epoch = txn.NoEpoch
		}
		resp.ErrorCode = known(err, c.Version, 4)
	}
	resp.ProducerID, resp.ProducerEpoch = p.ID, p.Epoch
	return resp, nil
}

func (x *Txns) initialise(ctx context.Context, c *Call, req *kmsg.InitProducerIDRequest) (coord.Producer, error) {
	had := coord.Producer{ID: txn.NoProducer, Epoch: txn.NoEpoch}
	if c.Version >= 3 {
		had = coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	}
	var expected *coord.Producer
	switch {
	case (had.ID == txn.NoProducer) != (had.Epoch == txn.NoEpoch):
		return coord.Producer{}, kerr.InvalidRequest
	case had.ID != txn.NoProducer:
		expected = &had
	}
	if req.TransactionalID == nil {
		id, err := x.IDs.Next(ctx)
		return coord.Producer{ID: id}, err
	}
	in := txn.Init{ID: *req.TransactionalID, TimeoutMillis: req.TransactionTimeoutMillis, Expected: expected}
	reply, err := x.write(ctx, in.ID, func(s *txn.Shard, now time.Time, _ coord.Ticket, next int64) coord.Result {
		in.NewProducer = next
		return s.Init(now, in)
	})
	if err != nil {
		return coord.Producer{}, err
	}
	got := reply.(txn.Initialised)
	return got.Producer, got.Err
}

// --- AddPartitionsToTxn and AddOffsetsToTxn

func (x *Txns) addPartitions(ctx context.Context, c *Call, req *kmsg.AddPartitionsToTxnRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrAddPartitionsToTxnResponse()
	if c.Version < 4 {
		var ps []txn.Partition
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				ps = append(ps, txn.Partition{Topic: t.Topic, Partition: p})
			}
		}
		producer := coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
		errs := x.check(ps, true)
		if errs == nil {
			errs = same(len(ps), x.Add(ctx, req.TransactionalID, producer, ps, 0, 0))
		}
		n := 0
		for _, t := range req.Topics {
			rt := kmsg.NewAddPartitionsToTxnResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, known(errs[n], c.Version, 2)
				n++
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, ctx.Err()
	}
	for i := range req.Transactions {
		resp.Transactions = append(resp.Transactions, x.addTransaction(ctx, &req.Transactions[i]))
	}
	return resp, ctx.Err()
}

// addTransaction is one of a batch, from a partition's leader.
func (x *Txns) addTransaction(ctx context.Context, req *kmsg.AddPartitionsToTxnRequestTransaction) kmsg.AddPartitionsToTxnResponseTransaction {
	r := kmsg.NewAddPartitionsToTxnResponseTransaction()
	r.TransactionalID = req.TransactionalID
	var ps []txn.Partition
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			ps = append(ps, txn.Partition{Topic: t.Topic, Partition: p})
		}
	}
	producer := coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}
	errs := x.check(ps, false)
	switch {
	case errs != nil:
	case req.VerifyOnly:
		errs = x.Verify(ctx, req.TransactionalID, producer, ps)
	default:
		errs = same(len(ps), x.Add(ctx, req.TransactionalID, producer, ps, 2, x.AddWait))
	}
	n := 0
	for _, t := range req.Topics {
		rt := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			rp.Partition, rp.ErrorCode = p, coord.Code(errs[n])
			n++
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// same is n times err.
func same(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// check refuses all partitions for the sake of one that cannot be added; nil
// when there is none. Clients do not add the brokers' own topics.
func (x *Txns) check(ps []txn.Partition, client bool) []error {
	errs, bad := make([]error, len(ps)), false
	for i, p := range ps {
		switch {
		case client && internalTopic(p.Topic):
			errs[i], bad = kerr.TopicAuthorizationFailed, true
		case !x.Topics.HasPartition(p.Topic, p.Partition):
			errs[i], bad = kerr.UnknownTopicOrPartition, true
		default:
			errs[i] = kerr.OperationNotAttempted
		}
	}
	if !bad {
		return nil
	}
	return errs
}

// Add takes partitions into a transaction that is coordinated here. Partitions
// are known to exist.
func (x *Txns) Add(ctx context.Context, id string, p coord.Producer, ps []txn.Partition, version int16, wait time.Duration) error {
	add := txn.Add{ID: id, Producer: p, Partitions: ps, Version: version, Wait: wait}
	reply, err := x.write(ctx, id, func(s *txn.Shard, now time.Time, t coord.Ticket, _ int64) coord.Result {
		return s.Add(now, t, add)
	})
	if err != nil {
		return err
	}
	return reply.(txn.Added).Err
}

// Verify tells for each partition whether it belongs to a transaction that is
// coordinated here.
func (x *Txns) Verify(ctx context.Context, id string, p coord.Producer, ps []txn.Partition) []error {
	reply, err := x.write(ctx, id, func(s *txn.Shard, _ time.Time, _ coord.Ticket, _ int64) coord.Result {
		return s.Verify(id, p, ps)
	})
	if err != nil {
		return same(len(ps), err)
	}
	return reply.([]error)
}

func (x *Txns) addOffsets(ctx context.Context, c *Call, req *kmsg.AddOffsetsToTxnRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrAddOffsetsToTxnResponse()
	n := x.Cluster.InternalPartitions(OffsetsTopic)
	if n <= 0 {
		// The group's coordinator, whom the client asked first, makes the topic.
		x.Cluster.CreateInternal(OffsetsTopic)
		resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return resp, nil
	}
	at := txn.Partition{Topic: OffsetsTopic, Partition: coord.PartitionFor(req.Group, n)}
	err := x.Add(ctx, req.TransactionalID, coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, []txn.Partition{at}, 0, 0)
	resp.ErrorCode = known(err, c.Version, 2)
	return resp, ctx.Err()
}

// --- EndTxn

func (x *Txns) end(ctx context.Context, c *Call, req *kmsg.EndTxnRequest) (kmsg.Response, error) {
	end := txn.End{
		ID: req.TransactionalID, Producer: coord.Producer{ID: req.ProducerID, Epoch: req.ProducerEpoch}, Commit: req.Commit,
	}
	if c.Version >= 5 {
		end.Version = 2
	}
	reply, err := x.write(ctx, end.ID, func(s *txn.Shard, now time.Time, _ coord.Ticket, next int64) coord.Result {
		end.NewProducer = next
		return s.End(now, end)
	})
	resp := kmsg.NewPtrEndTxnResponse()
	resp.ProducerID, resp.ProducerEpoch = txn.NoProducer, txn.NoEpoch
	if err != nil {
		resp.ErrorCode = known(err, c.Version, 2)
		return resp, ctx.Err()
	}
	p := reply.(txn.Ended).Producer
	resp.ProducerID, resp.ProducerEpoch = p.ID, p.Epoch
	return resp, nil
}
