// SPDX-License-Identifier: Apache-2.0

// Package coord runs coordinators: state machines whose state is what the
// records of one partition of an internal topic say, and which live where that
// partition is led. It loads the log, runs one loop for each owned partition,
// writes what a shard decided, moves its view of what is committed, fires its
// timers, and throws it away when the partition is led elsewhere.
//
// It knows nothing of groups or transactions (a Shard does), of replicas or
// files (a Log does), nor of requests and connections.
//
// # The one rule
//
// A coordinator never undoes. An operation runs in five steps, in this order:
//
//	decide   the shard looks at its state and returns a Result; refusals
//	         happen here, before anything durable changed
//	append   the Result's records go to the local log as one batch, whole or
//	         not at all
//	replay   each record is given to Shard.Replay, which cannot fail
//	         (unless Result.Applied says that memory already holds it)
//	wait     until the log says that they are committed
//	reply    to the caller
//
// When leadership is lost after the append, the shard is thrown away and all
// who wait get NOT_COORDINATOR. A wait ends after Config.WriteTimeout with
// COORDINATOR_NOT_AVAILABLE, for a coordinator that cannot commit must not
// hang its clients. A Read is answered from the committed view and so never
// waits; until all that was loaded is known to be committed it is refused, for
// the leader before may have answered for any of it.
//
// # Concurrency
//
// Runtime: a mutex over the map of owned partitions, held for look-ups only.
// Each partition: one goroutine (loop-owned state), a bounded mailbox, stopped
// by Resign, a newer Elect or Close, which wait for its end. Shards are pure:
// they take now as an argument and give timers as data (Next, Tick).
package coord

import "time"

// Log is the log of one partition as its leader on this node sees it. It is
// met by package replica through an adapter. A Log belongs to one leader
// epoch: once that is over, Append and Read fail and Await's channel is closed.
// Errors are kerr's.
type Log interface {
	// Append writes one whole batch, or nothing of it, and assigns offsets in
	// place. end is the offset after the batch's last record. It does not wait
	// for the batch to be committed. The bytes may be reused afterwards.
	Append(batch []byte, o AppendOptions) (end int64, err error)

	// Bounds returns the log start offset and the log end offset.
	Bounds() (start, end int64)

	// Committed returns the high watermark: all below it is safe.
	Committed() int64

	// Await returns a channel that is closed once Committed() >= end, or once
	// this log will never get there because it is no longer led here; call
	// Committed to tell. stop releases the wait early and may be called twice.
	Await(end int64) (done <-chan struct{}, stop func())

	// Read returns whole batches from the one that holds offset from, at most
	// about maxBytes but at least one batch, up to the log end. It may put
	// them in buf. It returns nothing where from is the log end.
	Read(from int64, maxBytes int, buf []byte) ([]byte, error)

	// MaxBatch is the size of the largest batch that Append takes.
	MaxBatch() int
}

// AppendOptions go with an append to a Log.
type AppendOptions struct {
	// Guard shows that the transaction coordinator knows that this partition
	// belongs to the batch's transaction. It is needed for its first batch.
	Guard uint64
	// TxnVersion is a marker's transaction version.
	TxnVersion int16
}

// Ticket names a call that waits for its answer. 0 names none.
type Ticket uint64

// Record is one record of a coordinator's log. A nil Value is a tombstone.
type Record struct {
	Key, Value []byte
}

// Producer is who wrote a batch in a transaction, or whose transaction a marker
// ends.
type Producer struct {
	ID    int64
	Epoch int16
}

// InTxn puts records into a client's transaction: they count when it commits.
type InTxn struct {
	Producer Producer
	Guard    uint64
}

// Marker ends a producer's transaction in a coordinator's log.
type Marker struct {
	Producer         Producer
	Commit           bool
	CoordinatorEpoch int32 // of the transaction's coordinator
	TxnVersion       int16
}

// Effect is something a shard wants to be done outside of it; what it may be is
// between the shard and Config.Effect.
type Effect any

// Answer is the reply to a call that was parked.
type Answer struct {
	To    Ticket
	Reply any
}

// Result is what a shard decided.
type Result struct {
	// Records are appended as one batch, whole or not at all.
	Records []Record

	// Divisible: the records do not depend on each other, so that many of them
	// may be spread over several batches (expiry, deletion of a topic).
	Divisible bool

	// Txn, if not nil, writes Records as part of a client's transaction. Marker,
	// if not nil, is written instead of Records. Both are for shards that are
	// Transactional only.
	Txn    *InTxn
	Marker *Marker

	// Effects are carried out once Records, and all that was written before, is
	// committed, however long that takes; never, when the write is refused or
	// leadership is lost before.
	Effects []Effect

	// Applied: memory already holds what Records say, so they are not replayed.
	Applied bool

	// Reply answers the caller, once Records and all that was written before
	// is committed. Err answers it at once instead and nothing is written.
	// With neither, the caller is parked: an Answer to its ticket, in this or
	// a later Result, releases it.
	Reply any
	Err   error

	// Answers are given at once, to this caller or to parked ones.
	Answers []Answer

	// Settled, if not nil, is called when Records are committed (err nil) or
	// when they could not be: written tells a write that was refused (false,
	// nothing is in the log) from a wait that timed out (true, it may yet be
	// committed).
	Settled func(now time.Time, written bool, err error) Result

	// Notes tell an operator what happened and why.
	Notes []Note
}

// Note is one event in the life of what a shard looks after: a constant text
// with its particulars.
type Note struct {
	Text       string
	Subject    string // the group's or transactional id
	Member     string
	Generation int32
	Reason     string
}

// Shard is a state machine over the records of one partition. Its methods are
// called by one goroutine at a time.
type Shard interface {
	// Replay brings the state to where record r, at offset, puts it. It is
	// called for the records of the log at load and for those just appended.
	// An error means that the record cannot be read; the state is unchanged.
	Replay(offset int64, r Record) error

	// Committed moves the view that reads are answered from: the records below
	// upTo are committed.
	Committed(upTo int64)

	// Loaded is called once when all that the log held was replayed.
	Loaded(now time.Time) Result

	// Next is the time at which Tick wants to be called; zero for never.
	Next() time.Time

	// Tick fires what is due at now.
	Tick(now time.Time) Result
}

// Transactional is met by a shard whose log takes part in clients'
// transactions.
type Transactional interface {
	Shard

	// ReplayInTxn is Replay for a record that p wrote in its transaction.
	ReplayInTxn(offset int64, p Producer, r Record) error

	// ReplayMarker is called where the log says how a transaction of p ended.
	ReplayMarker(offset int64, p Producer, commit bool)
}

// Events are reports of what an operator may want to know. They are called on
// the partition's loop and must not block. Nil funcs are skipped.
type Events struct {
	Loaded     func(partition int32, records int64, took time.Duration)
	LoadFailed func(partition int32, err error)
	BadRecord  func(partition int32, offset int64, err error)
	Unloaded   func(partition int32)
	WriteError func(partition int32, err error)
	Note       func(partition int32, n Note)
}
