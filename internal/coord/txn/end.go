// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/coord"
)

// End is an EndTxn.
type End struct {
	ID       string
	Producer coord.Producer
	Commit   bool
	Version  int16 // the client's transaction version: 2 from EndTxn v5 on
	// NewProducer is used where one is needed; NoProducer: see ErrNeedProducer.
	NewProducer int64
}

// Ended is the reply to End: what the client goes on with, or none (-1, -1) for
// versions below 2.
type Ended struct{ Producer coord.Producer }

var goesOn = Ended{coord.Producer{ID: NoProducer, Epoch: NoEpoch}}

// End decides a transaction. The reply comes when the decision is committed;
// the markers follow.
func (s *Shard) End(now time.Time, end End) coord.Result {
	t := s.written(end.ID)
	if t == nil {
		return coord.Result{Err: kerr.InvalidProducerIDMapping}
	}
	if end.Version < 2 {
		return s.endV1(now, t, end)
	}
	return s.endV2(now, t, end)
}

// endV1 is for clients that keep their epoch.
//
//	           | commit                 | abort
//	Ongoing    | PrepareCommit          | PrepareAbort
//	Prepare... | CONCURRENT_TRANSACTIONS where it says the same
//	Complete.. | done, where it says the same
//	else       | INVALID_TXN_STATE
//
// Source: TransactionCoordinator.endTransactionWithTV1.
func (s *Shard) endV1(now time.Time, t *Txn, end End) coord.Result {
	same := t.State == PrepareAbort || t.State == CompleteAbort
	if end.Commit {
		same = t.State == PrepareCommit || t.State == CompleteCommit
	}
	switch {
	case t.Producer != end.Producer.ID:
		return coord.Result{Err: kerr.InvalidProducerIDMapping}
	case t.Epoch != end.Producer.Epoch:
		return coord.Result{Err: kerr.ProducerFenced}
	case t.State == Ongoing:
		return s.decide(t.prepared(outcome(end.Commit), 0, NoProducer, now.UnixMilli()), goesOn)
	case t.State.preparing() && same:
		return coord.Result{Err: kerr.ConcurrentTransactions}
	case same:
		return coord.Result{Reply: goesOn}
	}
	return coord.Result{Err: kerr.InvalidTxnState}
}

// endV2 is for clients whose epoch each end raises, so that a repeated request
// (with the epoch of before) is told from the next one.
//
//	               | abort              | commit
//	               | repeated | current | repeated | current
//	Empty          | FENCED   | ends    | FENCED   | INVALID_TXN_STATE
//	CompleteAbort  | done     | ends    | INVALID  | INVALID_TXN_STATE
//	CompleteCommit | INVALID  | ends    | done     | INVALID_TXN_STATE
//
// "ends" raises the epoch again: the client could not know whether it had sent
// anything. Ongoing ends with the current epoch only. While a decision is carried
// out, all get CONCURRENT_TRANSACTIONS.
// Source: TransactionCoordinator.endTransaction.
func (s *Shard) endV2(now time.Time, t *Txn, end End) coord.Result {
	if t.State.preparing() {
		return coord.Result{Err: kerr.ConcurrentTransactions}
	}
	p := end.Producer
	overflown := t.Producer != p.ID && t.Prev == p.ID && p.Epoch == lastEpoch && t.Epoch == 0
	raised := t.Producer == p.ID && t.Epoch == p.Epoch+1
	complete := t.State == CompleteCommit || t.State == CompleteAbort
	switch {
	case t.Producer != p.ID && !overflown:
		return coord.Result{Err: kerr.InvalidProducerIDMapping}
	case complete && (raised || overflown):
		if end.Commit == (t.State == CompleteCommit) {
			return coord.Result{Reply: Ended{coord.Producer{ID: t.Producer, Epoch: t.Epoch}}}
		}
		return coord.Result{Err: kerr.InvalidTxnState}
	case t.Epoch != p.Epoch || p.Epoch > lastEpoch:
		return coord.Result{Err: kerr.ProducerFenced}
	case t.State != Ongoing && end.Commit:
		return coord.Result{Err: kerr.InvalidTxnState}
	}
	next := NoProducer
	if exhausted(t.Epoch) {
		if next = end.NewProducer; next == NoProducer {
			return coord.Result{Err: ErrNeedProducer}
		}
	}
	n := t.prepared(outcome(end.Commit), end.Version, next, now.UnixMilli())
	c := n.completed(n.Updated)
	return s.decide(n, Ended{coord.Producer{ID: c.Producer, Epoch: c.Epoch}})
}

func outcome(commit bool) State {
	if commit {
		return PrepareCommit
	}
	return PrepareAbort
}

// decide writes the decision n and orders its markers. Without a partition
// there is nothing to wait for.
func (s *Shard) decide(n *Txn, reply Ended) coord.Result {
	if len(n.Partitions) == 0 {
		return coord.Result{Records: []coord.Record{record(n), record(n.completed(n.Updated))}, Reply: reply}
	}
	return coord.Result{Records: []coord.Record{record(n)}, Effects: []coord.Effect{s.order(n)}, Reply: reply}
}

// Complete notes that the markers of o are written, and goes on with who waited
// for it. An order that is not the one under way any more, or that another
// coordinator gave, changes nothing. It replies with true when that is committed.
func (s *Shard) Complete(now time.Time, o Order) coord.Result {
	e := s.ids[o.ID]
	if e == nil || e.written == nil {
		return coord.Result{Reply: true}
	}
	t := e.written
	if !t.State.preparing() || e.decision != o.decision {
		return coord.Result{Reply: true}
	}
	r := coord.Result{Records: []coord.Record{record(t.completed(now.UnixMilli()))}, Reply: true}
	if len(e.parked) > 0 {
		// What they add may follow at once: replies keep the order of the log.
		r.Settled = func(now time.Time, _ bool, _ error) coord.Result { return s.resume(e, now) }
	}
	return r
}
