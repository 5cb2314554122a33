// SPDX-License-Identifier: Apache-2.0

package api

import (
	"time"

	"gregor/internal/replica"
	"gregor/internal/wire"
)

// Partitions finds what is hosted here. replica meets it (through an adapter
// of node); both Get methods are called for each partition of each Produce and
// Fetch and must not allocate.
//
// Errors everywhere in this file are kerr's.
type Partitions interface {
	// Get: UNKNOWN_TOPIC_OR_PARTITION when no such partition exists in the
	// cluster, NOT_LEADER_OR_FOLLOWER when it lives elsewhere,
	// KAFKA_STORAGE_ERROR when its directory is offline. name is borrowed.
	Get(name []byte, partition int32) (Partition, error)
	GetName(name string, partition int32) (Partition, error)
	// GetByID: UNKNOWN_TOPIC_ID when no topic has this id; else as Get.
	GetByID(id [16]byte, partition int32) (Partition, error)
	// TopicName of an id, or "".
	TopicName(id [16]byte) string
	// Leader tells who leads now (KIP-951); node -1 when nobody.
	Leader(topic string, partition int32, listener string) Leader
}

// Leader of a partition and its address on the caller's listener.
type Leader struct {
	Node, Epoch int32
	Host        string
	Port        int32
	Rack        *string
}

// Partition is one partition hosted here.
type Partition interface {
	Topic() string
	// Append writes the batches of one produce request for this partition.
	// records are borrowed until it returns, and are stamped in place.
	// Errors: kerr, or *RecordErrors around one.
	Append(records []byte, o AppendOptions) (Appended, error)
	// BeginTxn takes the guard for the first batch of a transaction, to be had
	// before the coordinator is asked. 0: the transaction is open here already.
	BeginTxn(producerID int64, epoch int16, first int32, version2 bool) (uint64, error)
	// AwaitCommitted arranges exactly one w.Wake, unless Forget comes first,
	// for when the high watermark reaches upTo or will not while this broker
	// leads in epoch; false when nothing needs to be waited for. Committed tells which: nil, or NOT_LEADER_OR_FOLLOWER,
	// NOT_ENOUGH_REPLICAS_AFTER_APPEND, KAFKA_STORAGE_ERROR, or
	// REQUEST_TIMED_OUT when it is just not there yet.
	AwaitCommitted(upTo int64, epoch int32, w Waker) bool
	Committed(upTo int64, epoch int32) error

	// Read answers one partition of a Fetch.
	Read(r ReadRequest) (Read, error)
	// AwaitReadable arranges w.Wake at each move of the end that the isolation
	// level may read, from now on, until Forget; false, and nothing arranged,
	// when that end is not seen any more (it has moved since the Read that
	// told it), or the partition cannot be read here any longer.
	AwaitReadable(iso Isolation, seen int64, w Waker) bool
	// Watch is AwaitReadable for a replica's session: w.Wake at each move of
	// the log end, and with 0 bytes of the high watermark, from now on, until
	// Forget; false when the partition cannot be read here.
	Watch(w Waker) bool
	// Forget takes w back from all lists. A Wake may still be under way.
	Forget(w Waker)
}

// Waker is told when what it waits for may have come. Wake must not block; it
// may be called with locks held, from any goroutine, and once too often.
// newBytes is about how much has become readable (AwaitReadable); large when
// something else happened that ends the wait (a new leader, a truncation).
type Waker interface{ Wake(newBytes int) }

// AppendOptions are the produce request's.
type AppendOptions struct {
	Acks           int16  // 0, 1 or -1
	Version        int16  // of the Produce request (zstd needs 7)
	InternalTopics bool   // may write __consumer_offsets and the like
	Guard          uint64 // what BeginTxn gave
	Unguarded      bool   // transactional batches need none
}

// Appended is the outcome of an append.
type Appended struct {
	BaseOffset    int64 // of a duplicate: the original's
	UpTo          int64 // the offset after the last; commit waits for it
	LogAppendTime int64 // -1 unless the topic stamps
	LogStart      int64
	LeaderEpoch   int32
}

// RecordErrors is a refusal of single records (KIP-467).
type RecordErrors struct {
	Err     error // the kerr error for the partition
	Message string
	Records []RecordError
}

// RecordError names one record by its index in the batch.
type RecordError struct {
	Index   int32
	Message string
}

func (e *RecordErrors) Error() string { return e.Err.Error() + ": " + e.Message }
func (e *RecordErrors) Unwrap() error { return e.Err }

// Isolation says up to where a fetch may read.
type Isolation int8

const (
	ReadUncommitted Isolation = 0 // to the high watermark
	ReadCommitted   Isolation = 1 // to the last stable offset
	ReadLogEnd      Isolation = 2 // followers
)

// ReadRequest asks one partition for records.
type ReadRequest struct {
	From             int64
	MaxBytes         int
	MinOne           bool // the first batch even if larger than MaxBytes
	Isolation        Isolation
	LeaderEpoch      int32 // -1: not given
	LastFetchedEpoch int32 // -1: not given
	Replica          int32 // -1: a consumer
	ReplicaEpoch     int64
	Rack             string // of the consumer (KIP-392)
	AnyReplica       bool   // a follower may answer
	// Follower is where a replica stands, when this is its own word.
	Follower *replica.FollowerPosition
	ClientID string
}

// Read is what a partition has. Slice's Release must be called once, when not
// nil.
type Read struct {
	Slice            wire.Part // N = 0: nothing
	Release          func()
	HighWatermark    int64
	LastStable       int64
	LogStart         int64
	ReadableEnd      int64 // HW, LSO or log end, by isolation: see AwaitReadable
	Aborted          []AbortedTxn
	Diverging        *EpochEnd // KIP-595; then no records
	PreferredReplica int32     // -1: none; else answer at once, without records
	// Rest is how long a throttle holds back the records that there are for a
	// replica.
	Rest time.Duration
}

// AbortedTxn is one aborted transaction overlapping the records read.
type AbortedTxn struct{ ProducerID, FirstOffset int64 }

// EpochEnd is the largest epoch at or below the one asked, and its end.
type EpochEnd struct {
	Epoch int32
	End   int64
}
