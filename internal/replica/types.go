// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"fmt"
	"time"

	"gregor/internal/batch"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Name is a partition by name.
type Name struct {
	Topic     string
	Partition int32
}

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
// about a partition above the log.
type TopicConfig struct {
	MaxMessageBytes int // of one batch: max.message.bytes
	MinISR          int
	Durable         bool          // gregor.durable
	Compacted       bool          // cleanup.policy has compact
	Deletable       bool          // cleanup.policy has delete
	LogAppendTime   bool          // message.timestamp.type
	TimestampBefore time.Duration // message.timestamp.before.max.ms
	TimestampAfter  time.Duration // message.timestamp.after.max.ms
	Codec           batch.Codec   // compression.type, unless Producer
	CodecLevel      int
	ProducerCodec   bool // compression.type=producer
	InflateAll      bool // gregor.validate.records=all
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
	// ZstdAllowed is false for produce requests before version 7.
	NoZstd bool
}

// Result of an append.
type Result struct {
	BaseOffset    int64 // of the first batch; of the original for a duplicate
	LastOffset    int64 // of the last batch, inclusive
	LogAppendTime int64 // -1 unless the topic stamps
	LogStart      int64
	LeaderEpoch   int32
	// Await is what the high watermark must reach before an acks=all producer
	// may be answered; 0: it has, answer now.
	Await     int64
	Duplicate bool
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
