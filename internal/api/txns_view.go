// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"gregor/internal/coord"
	"gregor/internal/coord/txn"
)

// describe answers from what is committed. Of a transaction that is being ended
// it lists the partitions that wait for their markers.
func (x *Txns) describe(ctx context.Context, _ *Call, req *kmsg.DescribeTransactionsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrDescribeTransactionsResponse()
	told := once[string]{}
	for _, id := range req.TransactionalIDs {
		if !told.first(id) {
			continue
		}
		r := kmsg.NewDescribeTransactionsResponseTransactionState()
		r.TransactionalID = id
		t, err := x.look(ctx, id)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.ErrorCode = coord.Code(err)
			resp.TransactionStates = append(resp.TransactionStates, r)
			continue
		}
		r.State, r.TimeoutMillis, r.StartTimestamp = t.State.String(), t.TimeoutMillis, t.Started
		r.ProducerID, r.ProducerEpoch = t.Producer, t.Epoch
		for _, p := range x.unended(t) {
			if n := len(r.Topics); n == 0 || r.Topics[n-1].Topic != p.Topic {
				rt := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
				rt.Topic = p.Topic
				r.Topics = append(r.Topics, rt)
			}
			rt := &r.Topics[len(r.Topics)-1]
			rt.Partitions = append(rt.Partitions, p.Partition)
		}
		resp.TransactionStates = append(resp.TransactionStates, r)
	}
	return resp, nil
}

// unended are the partitions of t that it still holds.
func (x *Txns) unended(t *txn.Txn) []txn.Partition {
	if x.Pending == nil || t.State != txn.PrepareCommit && t.State != txn.PrepareAbort {
		return t.Partitions
	}
	left, ok := x.Pending(t.ID)
	if !ok {
		return t.Partitions
	}
	return slices.DeleteFunc(slices.Clone(t.Partitions), func(p txn.Partition) bool { return !slices.Contains(left, p) })
}

func (x *Txns) look(ctx context.Context, id string) (*txn.Txn, error) {
	if id == "" {
		return nil, kerr.InvalidRequest
	}
	p, ok := x.partition(id)
	if !ok {
		return nil, kerr.NotCoordinator
	}
	var t *txn.Txn // its own: a read that ctx ended may still run
	if err := x.Shards.Read(ctx, p, func(s *txn.Shard) { t = s.Describe(id) }); err != nil {
		return nil, coord.ClientError(err)
	}
	if t == nil {
		return nil, kerr.TransactionalIDNotFound
	}
	return t, nil
}

func (x *Txns) list(ctx context.Context, _ *Call, req *kmsg.ListTransactionsRequest) (kmsg.Response, error) {
	resp := kmsg.NewPtrListTransactionsResponse()
	var states []txn.State
	for _, name := range req.StateFilters {
		if s, ok := txn.ParseState(name); ok {
			states = append(states, s)
		} else {
			resp.UnknownStateFilters = append(resp.UnknownStateFilters, name)
		}
	}
	var pattern *regexp.Regexp
	if p := req.TransactionalIDPattern; p != nil && *p != "" {
		var err error
		// Differs from Kafka: Go's syntax, which has no back references and
		// takes linear time.
		if pattern, err = regexp.Compile(`\A(?:` + *p + `)\z`); err != nil {
			return nil, kerr.InvalidRegularExpression
		}
	}
	now := time.Now().UnixMilli()
	var found []kmsg.ListTransactionsResponseTransactionState
	err := x.Shards.ReadAll(ctx, func(_ int32, s *txn.Shard) {
		s.Each(func(t *txn.Txn) {
			switch {
			case len(req.ProducerIDFilters) > 0 && !slices.Contains(req.ProducerIDFilters, t.Producer),
				len(req.StateFilters) > 0 && !slices.Contains(states, t.State),
				req.DurationFilterMillis >= 0 && now-t.Started <= req.DurationFilterMillis,
				pattern != nil && !pattern.MatchString(t.ID):
				return
			}
			r := kmsg.NewListTransactionsResponseTransactionState()
			r.TransactionalID, r.ProducerID, r.TransactionState = t.ID, t.Producer, t.State.String()
			found = append(found, r)
		})
	})
	if err != nil {
		return nil, coord.ClientError(err)
	}
	resp.TransactionStates = found
	return resp, nil
}
