// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/coord"
)

// ErrNeedProducer asks for the same call again, with a new producer id in
// NewProducer: this shard cannot make one.
var ErrNeedProducer = errors.New("transaction: a new producer id is needed")

// Init is an InitProducerId with a transactional id.
type Init struct {
	ID            string
	TimeoutMillis int32
	// Expected is what the client goes on with (KIP-360); nil: nothing.
	Expected *coord.Producer
	// NewProducer is used where one is needed; NoProducer: see ErrNeedProducer.
	NewProducer int64
}

// Initialised is the reply to Init: the producer, or an error that counts from
// when what it says is committed.
type Initialised struct {
	Producer coord.Producer
	Err      error
}

// Init gives the caller the transactional id's producer with a raised epoch,
// which fences whoever had it before. A transaction that is open is aborted
// first, and the caller told to try again.
// Source: TransactionCoordinator.prepareInitProducerIdTransit.
func (s *Shard) Init(now time.Time, in Init) coord.Result {
	if in.TimeoutMillis <= 0 || time.Duration(in.TimeoutMillis)*time.Millisecond > s.cfg.MaxTimeout {
		return coord.Result{Err: kerr.InvalidTransactionTimeout}
	}
	ms := now.UnixMilli()
	t := s.written(in.ID)
	if t == nil {
		if in.NewProducer == NoProducer {
			return coord.Result{Err: ErrNeedProducer}
		}
		// Epoch 0 is right whatever the caller expected: it cannot be behind
		// anybody.
		return initialised(&Txn{
			ID: in.ID, Producer: in.NewProducer, Prev: in.NewProducer, Next: NoProducer, LastEpoch: NoEpoch,
			TimeoutMillis: in.TimeoutMillis, Started: -1, Updated: ms,
		})
	}
	if t.State.preparing() {
		return coord.Result{Err: kerr.ConcurrentTransactions}
	}
	if x := in.Expected; x != nil && x.ID != t.Producer && (x.ID != t.Prev || !exhausted(x.Epoch)) {
		return coord.Result{Err: kerr.ProducerFenced}
	}
	if t.State == Ongoing {
		// That epoch is never given to anybody: the caller comes again and gets
		// the one after.
		n := s.fence(t, ms)
		return coord.Result{
			Records: []coord.Record{record(n)}, Effects: []coord.Effect{s.order(n)},
			Reply: Initialised{Err: kerr.ConcurrentTransactions},
			Notes: []coord.Note{{Text: "transaction aborted", Subject: t.ID, Reason: "its producer was initialised anew"}},
		}
	}
	n := t.step(Empty, ms)
	n.TimeoutMillis, n.Partitions, n.Started, n.Next = in.TimeoutMillis, nil, -1, NoProducer
	x := in.Expected
	last := x != nil && x.Epoch == t.LastEpoch && (x.ID == t.Producer || x.ID == t.Prev) && x.Epoch != t.Epoch
	switch {
	case last && t.Epoch <= lastEpoch:
		// The answer to the first try was lost. Nobody else came in between, for
		// that would have cleared LastEpoch.
		n.Prev = t.Prev
	case x != nil && x.Epoch != t.Epoch && !last:
		return coord.Result{Err: kerr.ProducerFenced}
	case exhausted(t.Epoch):
		if in.NewProducer == NoProducer {
			return coord.Result{Err: ErrNeedProducer}
		}
		n.Producer, n.Epoch, n.LastEpoch = in.NewProducer, 0, NoEpoch
		if x != nil {
			n.LastEpoch = x.Epoch
		}
	default:
		n.Epoch, n.LastEpoch = t.Epoch+1, NoEpoch
		if x != nil {
			n.LastEpoch = t.Epoch
		}
	}
	return initialised(n)
}

func initialised(t *Txn) coord.Result {
	return coord.Result{
		Records: []coord.Record{record(t)},
		Reply:   Initialised{Producer: coord.Producer{ID: t.Producer, Epoch: t.Epoch}},
	}
}

// fence is the decision to abort t, which is open, against its producer's will.
// The epoch is raised in every version, so that the producer is refused.
func (s *Shard) fence(t *Txn, now int64) *Txn {
	n := t.prepared(PrepareAbort, s.level, NoProducer, now)
	if s.level < 2 {
		n.Epoch, n.LastEpoch, n.Version = t.Epoch+1, NoEpoch, 0
	}
	return n
}

// Add is a request to take partitions into a transaction, which opens it.
type Add struct {
	ID         string
	Producer   coord.Producer
	Partitions []Partition
	Version    int16 // the client's transaction version
	// Wait is how long the call may wait for the markers of the transaction
	// before.
	Wait time.Duration
}

// Added is the reply to Add; Err is nil or CONCURRENT_TRANSACTIONS after a wait.
type Added struct{ Err error }

// Add opens a transaction or takes more partitions into it.
// Source: TransactionCoordinator.handleAddPartitionsToTransaction.
func (s *Shard) Add(now time.Time, to coord.Ticket, add Add) coord.Result {
	t := s.written(add.ID)
	n, err := added(t, add, now.UnixMilli())
	switch {
	case errors.Is(err, kerr.ConcurrentTransactions) && add.Wait > 0 && to != 0:
		e := s.ids[add.ID]
		e.parked = append(e.parked, parked{to, add, now.Add(add.Wait)})
		s.watch(e)
		return coord.Result{}
	case err != nil:
		return coord.Result{Err: err}
	case n == t: // the reply waits until what says so is committed
		return coord.Result{Reply: Added{}}
	}
	return coord.Result{Records: []coord.Record{record(n)}, Reply: Added{}}
}

// check is the rule for all who act in a transaction that is not being ended.
// An epoch above lastEpoch was never given to a client.
func check(t *Txn, p coord.Producer) error {
	switch {
	case t == nil || t.Producer != p.ID:
		return kerr.InvalidProducerIDMapping
	case t.Epoch != p.Epoch || p.Epoch > lastEpoch:
		return kerr.ProducerFenced
	}
	return nil
}

// added is t with the partitions of add; t itself where it has them. While the
// transaction before is being ended, nobody is told more than to wait: the
// producer may have been given the id and epoch that follow.
func added(t *Txn, add Add, now int64) (*Txn, error) {
	if t != nil && t.State.preparing() {
		return nil, kerr.ConcurrentTransactions
	}
	if err := check(t, add.Producer); err != nil {
		return nil, err
	}
	more := t.State != Ongoing
	for _, p := range add.Partitions {
		more = more || !t.has(p)
	}
	if !more {
		return t, nil
	}
	n := t.step(Ongoing, now)
	if t.State != Ongoing {
		n.Started = now
	}
	n.Partitions, n.Version = t.with(add.Partitions), add.Version
	return n, nil
}

// resume goes on with who waited for the end of a transaction. They are
// decided one after another and written as one.
func (s *Shard) resume(e *entry, now time.Time) coord.Result {
	waiting := e.parked
	e.parked = nil
	t := e.written
	var done, refused []coord.Answer
	for _, p := range waiting {
		n, err := added(t, p.add, now.UnixMilli())
		if err != nil {
			refused = append(refused, coord.Answer{To: p.to, Reply: Added{Err: err}})
			continue
		}
		t = n
		done = append(done, coord.Answer{To: p.to, Reply: Added{}})
	}
	r := coord.Result{Answers: refused}
	if len(done) == 0 {
		return r
	}
	if t != e.written {
		r.Records = []coord.Record{record(t)}
	}
	r.Settled = func(_ time.Time, _ bool, err error) coord.Result {
		if err != nil {
			for i := range done {
				done[i].Reply = Added{Err: coord.ClientError(err)}
			}
		}
		return coord.Result{Answers: done}
	}
	return r
}

// endWaits answers who waited long enough.
func (s *Shard) endWaits(r *coord.Result, e *entry, now time.Time) {
	var left []parked
	for _, p := range e.parked {
		if p.until.After(now) {
			left = append(left, p)
			continue
		}
		r.Answers = append(r.Answers, coord.Answer{To: p.to, Reply: Added{Err: kerr.ConcurrentTransactions}})
	}
	e.parked = left
}

// Verify says for each of the partitions whether it belongs to the producer's
// open transaction: nil or TRANSACTION_ABORTABLE. The reply, a []error, waits
// until that is committed.
// Source: TransactionCoordinator.handleVerifyPartitionsInTransaction.
func (s *Shard) Verify(id string, p coord.Producer, partitions []Partition) coord.Result {
	t := s.written(id)
	if err := check(t, p); err != nil {
		return coord.Result{Err: err}
	}
	if t.State.preparing() {
		return coord.Result{Err: kerr.ConcurrentTransactions}
	}
	errs := make([]error, len(partitions))
	for i, p := range partitions {
		if !t.has(p) {
			errs[i] = kerr.TransactionAbortable
		}
	}
	return coord.Result{Reply: errs}
}
