// SPDX-License-Identifier: Apache-2.0

// Package storage keeps the logs of a directory (a log.dir): each log a
// partition's segments, its epochs and its producers. It appends and reads
// whole batches, recovers, flushes in groups and truncates. It knows offsets
// and bytes, and refuses to know requests, replicas and what a topic is;
// compaction (storage/clean) is built on it.
//
// Invariants:
//   - Start <= Flushed <= End, and what lies below Flushed survives a power
//     cut: a durable point on disk says up to where (docs/formats).
//   - Recovery cuts a log only above its durable point. Damage below it is
//     told, and stays in the file.
//   - The first failed write or sync of a directory fails the whole directory
//     (a full disk does not: it refuses writes until there is room).
//
// Concurrency: a Dir has one committer, which makes one act durable for all
// logs that are dirty, and calls Events; a Log has one leaf lock for appends
// and what changes segments, and readers go past it. See Log.
//
// The bytes: docs/formats/log-directory.md, segment.md, indexes.md,
// catalogue.md, durable-points.md, producer-snapshot.md.
package storage

import (
	"strconv"
	"time"

	"gregor/internal/storage/index"
	"gregor/internal/storage/producer"
	"gregor/internal/vfs"
)

// Name is a log's name: on disk the directory "topic-partition".
type Name struct {
	Topic     string
	Partition int32
}

// String returns the name of the log's directory.
func (n Name) String() string { return n.Topic + "-" + strconv.Itoa(int(n.Partition)) }

// LogConfig is what a topic's configuration means to its log. Durations and
// sizes: a negative value is "without limit", zero takes Kafka's default.
// Values beyond a Duration's range must be given as negative.
type LogConfig struct {
	// Create makes the log when it is not on disk (used by Dir.Open only).
	Create bool

	SegmentBytes  int64         // segment.bytes, 1 GiB
	SegmentAge    time.Duration // segment.ms, 7 days
	SegmentJitter time.Duration // segment.jitter.ms, 0
	IndexBytes    int           // segment.index.bytes, 10 MiB
	IndexInterval int           // index.interval.bytes, 4096

	// Delete and Compact are cleanup.policy; both false keeps everything.
	Delete, Compact bool
	Retention       time.Duration // retention.ms, 7 days
	RetentionBytes  int64         // retention.bytes; 0 and negative: unlimited
	FileDeleteDelay time.Duration // file.delete.delay.ms, 1 minute; negative: at once

	// Durable logs are flushed after every append by the directory's group
	// commit. Others follow FlushMessages and FlushEvery only.
	Durable       bool
	FlushMessages int64         // flush.messages; 0 and negative: never
	FlushEvery    time.Duration // flush.ms; 0 and negative: never

	Preallocate    bool          // preallocate: reserve a segment's blocks at roll
	ProducerExpiry time.Duration // producer.id.expiration.ms, 1 day
	// Reserve lets this log use the directory's reserved room when the disk is
	// full (the metadata log).
	Reserve bool

	// What compaction reads; the log itself does not.
	DeleteRetention  time.Duration // delete.retention.ms, 1 day
	MinCompactionLag time.Duration // min.compaction.lag.ms, 0
	MaxCompactionLag time.Duration // max.compaction.lag.ms; 0 and negative: never
	MinDirtyRatio    float64       // min.cleanable.dirty.ratio, 0.5
	MaxBatchBytes    int           // max.message.bytes
}

// Origin says who appends, and so how much is checked.
type Origin = producer.Origin

const (
	// Client appends are checked by the whole producer rule book.
	Client = producer.Client
	// Coordinator appends have producer ids but no sequences.
	Coordinator = producer.Coordinator
	// Replication appends carry their offsets and epochs and were checked by
	// the leader.
	Replication = producer.Replication
)

// Append says how batches are to be appended.
type Append struct {
	LeaderEpoch int32
	Origin      Origin
	// TxnVersion is the transaction version of a marker (0, 1 or 2), used
	// when Origin is Coordinator and the batch is a control batch.
	TxnVersion int16
	// Guarded asks that the first batch of a transaction comes with the Guard
	// that BeginTxn gave.
	Guarded bool
	Guard   uint64
}

// Appended is the answer of an append. Of a duplicate, First and Last are the
// original's, and who waits must wait for Last to be committed.
type Appended struct {
	First, Last int64 // Last is the last offset, inclusive
	LogStart    int64
	// Timestamp is the original's maximum timestamp when Duplicate.
	Timestamp int64
	Duplicate bool
}

// Slice is a range of whole batches in a file. Release must be called once;
// the file stays open and on disk until then. A zero Slice is empty.
type Slice struct {
	File vfs.File
	Off  int64
	N    int
	// Bytes, when not nil, holds the data instead of File.
	Bytes []byte
	// Path is the file's, for messages about what is in it.
	Path string
	// First is the base offset of the first batch and Next the offset after
	// the last one; the next read goes on at Next.
	First, Next int64
	Release     func()
}

// AbortedTxn is an aborted transaction as the transaction index keeps it.
type AbortedTxn = index.AbortedTxn

// ProducerState is one producer as DescribeProducers shows it.
type ProducerState = producer.State

// TimestampOffset is the answer of a search by time.
type TimestampOffset struct {
	Offset      int64
	Timestamp   int64
	LeaderEpoch int32
}

// Events are called on storage's goroutines (some beneath the log's lock) and
// must not block nor call back into storage, but for Truncated. Any may be nil.
type Events struct {
	// Flushed: everything below end is durable. Called only when end rose.
	Flushed func(l *Log, end int64)
	// Committed: a group commit made what some logs hold durable.
	Committed func(took time.Duration)
	// StartMoved: retention raised the log start offset.
	StartMoved func(l *Log, start int64)
	// Truncated: the log now ends at end, below where it did. It comes on the
	// goroutine that truncated, without a lock, and may write files.
	Truncated func(l *Log, end int64)
	// Rolled: a new segment begins at base.
	Rolled func(l *Log, base int64)
	// Recovered: a log was opened after an unclean stop.
	Recovered func(l *Log, r Recovery)
	// Corrupt: damage was found. It is reported once for each place.
	Corrupt func(n Name, c *CorruptError)
	// Rebuilt: a damaged or missing derived file (index, snapshot,
	// checkpoint) was made anew.
	Rebuilt func(path, reason string)
	// DirFailed: the directory went offline.
	DirFailed func(dir string, err error)
	// NoSpace: the directory's disk became full, or has room again.
	NoSpace func(dir string, full bool)
}

// Recovery tells what opening a log after an unclean stop found.
type Recovery struct {
	// ScannedBytes were read and checked, from offset From on.
	From         int64
	ScannedBytes int64
	// CutBytes were removed above the durable point, because they were no
	// whole batches. End is the log end now.
	CutBytes int64
	End      int64
	// LostTail: the log may end before where it ended, so its leader epoch
	// must be raised before it leads again. Below the durable point nothing is
	// lost but for Damage.
	LostTail bool
	// Damage below the durable point; nil when there is none.
	Damage []*CorruptError
}

// SegmentInfo describes a segment for the cleaner and for tools.
type SegmentInfo struct {
	// Base is the first offset it may hold, Next that of the next segment.
	Base, Next      int64
	Bytes           int64
	MaxTimestamp    int64
	OffsetOfMaxTime int64
	LastModified    time.Time
	Active          bool // written to, or not sealed yet
	Path            string
	HasDamage       bool
}
