// SPDX-License-Identifier: Apache-2.0

package producer

import "math"

// The first batch of a transaction may be appended only when the transaction
// coordinator knows that this partition belongs to the transaction: otherwise
// no marker would ever end it. Asking takes time, and in that time an abort's
// marker may come by. So whoever asks takes a guard first:
//
//	Begin -> guard                 a marker or a batch of the producer comes:
//	ask the coordinator            the guard is gone, the append is refused
//	Append with the guard
//
// A guard is a number that is never given twice, so that an answer about one
// transaction cannot let a batch into a later one.
// Source: VerificationStateEntry, UnifiedLog.maybeStartTransactionVerification.
type guard struct {
	number   uint64
	lowest   int32 // the lowest sequence that began with it
	epoch    int16
	fromZero bool // a producer without batches starts at sequence 0
	since    int64
}

// Begin gives the guard for a first batch with sequence first; 0 when the
// transaction is open already and none is needed. fromZero is for transactions
// of version 2. now is in ms.
func (t *Table) Begin(pid int64, epoch int16, first int32, fromZero bool, now int64) (uint64, error) {
	if e := t.entries[pid]; e != nil {
		if epoch < e.epoch {
			return 0, ErrInvalidProducerEpoch
		}
		if e.open(epoch) {
			return 0, nil
		}
	}
	g := t.guards[pid]
	switch {
	case g == nil:
		// A table that is built anew, after a truncation, must not give the
		// numbers of the one before.
		t.lastGuard = max(t.lastGuard, uint64(now)<<20) + 1
		g = &guard{number: t.lastGuard, lowest: first, epoch: epoch, fromZero: fromZero}
		if t.guards == nil {
			t.guards = map[int64]*guard{}
		}
		t.guards[pid] = g
	case epoch > g.epoch || epoch == g.epoch && first < g.lowest:
		g.lowest, g.epoch = first, epoch
	}
	g.since = now
	return g.number, nil
}

// open: a transaction of that epoch has records here.
func (e *entry) open(epoch int16) bool { return e.txnFirst >= 0 && e.epoch == epoch }

// Ongoing tells whether the producer has a transaction of that epoch open here.
func (t *Table) Ongoing(pid int64, epoch int16) bool {
	e := t.entries[pid]
	return e != nil && e.open(epoch)
}

// checkGuard lets the first batch of a transaction in, or not.
func (u *Update) checkGuard(pid int64, e *entry, epoch int16) error {
	if e.open(epoch) {
		return nil
	}
	if epoch < e.epoch {
		return ErrInvalidProducerEpoch
	}
	if g := u.t.guards[pid]; u.guarded && (g == nil || g.number != u.guard) {
		return ErrInvalidTxnState
	}
	return nil
}

// lowest is the sequence that nothing may be appended above before it, while a
// guard is out.
func (u *Update) lowest(pid int64) (seq int32, fromZero bool) {
	if g := u.t.guards[pid]; g != nil {
		return g.lowest, g.fromZero
	}
	return math.MaxInt32, false
}
