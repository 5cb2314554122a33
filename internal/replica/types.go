// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/batch"
	"gregor/internal/storage"
)

// Isolation bounds what a reader sees.
type Isolation int8

const (
	ReadUncommitted Isolation = 0 // up to the high watermark
	ReadCommitted   Isolation = 1 // up to the last stable offset
	ReadAll         Isolation = 2 // up to the log end: replicas, debugging
)

// NoEpoch, as a request's current leader epoch, asks for no check.
const NoEpoch int32 = -1

// TopicConfig is what a topic's properties (with the broker's defaults) say
// about its partitions. The log takes from Log what concerns the log:
// durability, clean-up and sizes are there.
type TopicConfig struct {
	Log             storage.LogConfig
	MaxMessageBytes int // of one batch: max.message.bytes
	MinISR          int // min.insync.replicas
	// Rules are how a client's records are checked. Now is filled in.
	Rules batch.Rules
}

// Origin is who appends.
type Origin int8

const (
	// FromClient: everything is checked as untrusted.
	FromClient Origin = iota
	// FromCoordinator: batches that this node built, control batches among
	// them.
	FromCoordinator
)

// AppendOptions go with an append.
type AppendOptions struct {
	Origin Origin
	// ExpectedEpoch refuses the append unless this node leads in exactly that
	// leader epoch; NoEpoch does not ask. (0 is a real epoch.)
	ExpectedEpoch int32
	// NoZstd refuses zstd, for produce requests before version 7.
	NoZstd bool
	// Guard is what BeginTxn gave, for the first batch of a transaction.
	// Unguarded does without.
	Guard     uint64
	Unguarded bool
	// TxnVersion is the transaction version of a marker.
	TxnVersion int16
}

// Result of an append.
type Result struct {
	BaseOffset    int64 // of the first batch; of the original for a duplicate
	LastOffset    int64 // of the last batch, inclusive
	LogAppendTime int64 // -1 unless the topic stamps
	LogStart      int64
	LeaderEpoch   int32
	Duplicate     bool
}

// ReadRequest asks for records.
type ReadRequest struct {
	From               int64
	MaxBytes           int
	MinOne             bool // return one whole batch even over MaxBytes
	Isolation          Isolation
	CurrentLeaderEpoch int32 // NoEpoch: no check
	// LastFetchedEpoch is the leader epoch of the record before From, NoEpoch:
	// unknown. It finds logs that have diverged.
	LastFetchedEpoch int32
	// Follower is who reads, when it is a replica: it has everything below
	// From. nil: a client, or a replica whose position was taken already.
	Follower *FollowerPosition
	// Copies: the records go to Replica, which may be throttled.
	Copies  bool
	Replica int32
	// AnyReplica lets a follower answer (KIP-392).
	AnyReplica bool
	Rack       string // of a consumer that may be sent elsewhere; "": it may not
}

// Read is what a partition has for a reader. Slice.Release must be called once
// when it is not nil.
type Read struct {
	Slice         storage.Slice
	HighWatermark int64
	LastStable    int64
	LogStart      int64
	LogEnd        int64
	// Bound is the end that the isolation level may read, see AwaitReadable.
	Bound     int64
	Aborted   []storage.AbortedTxn
	Diverging *EpochEnd // when set there are no records
	// Nearer, when set, is a replica that the reader should ask instead; there
	// are no records then.
	Nearer *int32
	// Rest, when set, is how long a throttle holds back the records that there
	// are.
	Rest time.Duration
}

// EpochEnd is where a leader epoch ends in this log.
type EpochEnd struct {
	Epoch int32
	End   int64 // exclusive; -1 with Epoch -1: not known
}

// RecordErrors refuses a batch for the sake of some of its records. Err is
// INVALID_RECORD or INVALID_TIMESTAMP, and errors.As finds it.
type RecordErrors struct {
	Err     *kerr.Error
	Message string
	Records []RecordError
}

// RecordError is about the record with the given place in its batch.
type RecordError struct {
	Index   int32
	Message string
}

func (e *RecordErrors) Error() string { return fmt.Sprintf("%s: %s", e.Err.Message, e.Message) }
func (e *RecordErrors) Unwrap() error { return e.Err }

// Code is the wire's number for err: 0 for nil, UNKNOWN_SERVER_ERROR for what
// is not one of Kafka's.
func Code(err error) int16 {
	if err == nil {
		return 0
	}
	return asKafka(err).Code
}
