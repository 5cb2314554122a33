// SPDX-License-Identifier: Apache-2.0

package txn

import (
	"cmp"
	"math"
	"slices"
)

// State is where the transaction of a transactional id stands. The numbers are
// those of Kafka's records.
type State int8

// The states, and who moves to them:
//
//	Empty            InitProducerId
//	Ongoing          the first partition or group of a transaction
//	PrepareCommit    EndTxn: decided, the markers are on their way
//	PrepareAbort     EndTxn, a time-out, or a new instance of the producer
//	CompleteCommit   all markers are written
//	CompleteAbort    all markers are written
//	Dead             expired: a tombstone stands for it, no record says it
//	PrepareEpochFence  never written; a name in Kafka's filters
const (
	Empty State = iota
	Ongoing
	PrepareCommit
	PrepareAbort
	CompleteCommit
	CompleteAbort
	Dead
	PrepareEpochFence
)

var stateNames = [...]string{
	"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "Unknown"
	}
	return stateNames[s]
}

// ParseState is the state with a name; false: there is none.
func ParseState(name string) (State, bool) {
	i := slices.Index(stateNames[:], name)
	return State(i), i >= 0
}

// ended: no transaction is open or under way.
func (s State) ended() bool { return s == Empty || s == CompleteCommit || s == CompleteAbort }

func (s State) preparing() bool { return s == PrepareCommit || s == PrepareAbort }

// NoProducer and NoEpoch stand for what is not there.
const (
	NoProducer int64 = -1
	NoEpoch    int16 = -1
)

// lastEpoch is the highest epoch that a producer is given. One more is kept
// for fencing it.
const lastEpoch int16 = math.MaxInt16 - 1

func exhausted(epoch int16) bool { return epoch >= lastEpoch }

// Partition names a partition in a transaction.
type Partition struct {
	Topic     string
	Partition int32
}

func compare(a, b Partition) int {
	if c := cmp.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return cmp.Compare(a.Partition, b.Partition)
}

// Txn is all that is known of a transactional id. Values are immutable once
// they are in a shard.
type Txn struct {
	ID string
	// Producer is the id in use. Prev is the one before the last step (mostly
	// the same). Next is the one that the client uses from now on, while the
	// last transaction of an exhausted one is ended.
	Producer, Prev, Next int64
	// Epoch is the producer's. LastEpoch is the one before, where a client that
	// repeats its InitProducerId may still bring it.
	Epoch, LastEpoch int16
	TimeoutMillis    int32
	State            State
	Partitions       []Partition // sorted
	Started, Updated int64       // ms; Started is -1 when nothing is open
	// Version is the transaction version of the client that took the last step:
	// from 2 on each end raises the epoch.
	Version int16
}

// expires is when an open transaction is aborted; ms, -1 for never.
func (t *Txn) expires() int64 {
	if t.State != Ongoing || t.TimeoutMillis == math.MaxInt32 {
		return -1
	}
	return t.Started + int64(t.TimeoutMillis)
}

func (t *Txn) has(p Partition) bool {
	_, ok := slices.BinarySearchFunc(t.Partitions, p, compare)
	return ok
}

// with are t's partitions and those of more.
func (t *Txn) with(more []Partition) []Partition {
	ps := make([]Partition, 0, len(t.Partitions)+len(more))
	ps = append(append(ps, t.Partitions...), more...)
	slices.SortFunc(ps, compare)
	return slices.Compact(ps)
}

// step is a copy of t that is to become its next state.
func (t *Txn) step(to State, now int64) *Txn {
	n := *t
	n.Prev, n.State, n.Updated = t.Producer, to, now
	return &n
}

// prepared is the decision to end t. Version 2 raises the epoch, so that what
// the producer still sends for this transaction is told from the next one; next
// is the producer id that takes over when the epoch cannot be raised again.
// Source: TransactionMetadata.prepareAbortOrCommit.
func (t *Txn) prepared(to State, version int16, next, now int64) *Txn {
	n := t.step(to, now)
	if version >= 2 {
		n.Epoch, n.LastEpoch = t.Epoch+1, t.Epoch
	}
	if t.State != Ongoing { // aborted without a partition: it began now
		n.Started = now
	}
	n.Next, n.Version = next, version
	return n
}

// completed is t after its markers are written.
// Source: TransactionMetadata.prepareComplete.
func (t *Txn) completed(now int64) *Txn {
	to := CompleteAbort
	if t.State == PrepareCommit {
		to = CompleteCommit
	}
	n := t.step(to, now)
	n.Partitions, n.Next = nil, NoProducer
	if t.Version >= 2 && t.Next != NoProducer {
		n.Producer, n.Epoch = t.Next, 0 // LastEpoch stays what the client last saw
	}
	return n
}
