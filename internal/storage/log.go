// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"time"

	"gregor/internal/batch"
	"gregor/internal/vfs"
)

// Log is one partition's log.
type Log struct{}

func (l *Log) Name() Name        { panic("unbuilt") }
func (l *Log) TopicID() [16]byte { panic("unbuilt") }
func (l *Log) Dir() *Dir         { panic("unbuilt") }
func (l *Log) Config() LogConfig { panic("unbuilt") }

// Append and AppendAll assign offsets (unless Origin is Replication), stamp
// the leader epoch and write, whole or not at all. vs of one request should be
// neighbours in memory: then they are one write without a copy.
func (l *Log) Append(v batch.View, a Append) (Appended, error)       { panic("unbuilt") }
func (l *Log) AppendAll(vs []batch.View, a Append) (Appended, error) { panic("unbuilt") }

// Read returns whole batches from the one that holds offset from (or the next
// one, when from was compacted away) up to but not including offset upTo, at
// most maxBytes of them; with minOne at least one batch however large. At the
// end (from == upTo or above) the Slice is empty and the error nil.
// Errors: ErrOffsetOutOfRange, *CorruptError, ErrDirFailed, ErrClosed.
func (l *Log) Read(from, upTo int64, maxBytes int, minOne bool) (Slice, error) { panic("unbuilt") }

// Start is the log start offset, End the next offset, Flushed the end of what
// is durable. None waits for a lock.
func (l *Log) Start() int64   { panic("unbuilt") }
func (l *Log) End() int64     { panic("unbuilt") }
func (l *Log) Flushed() int64 { panic("unbuilt") }
func (l *Log) Size() int64    { panic("unbuilt") }

// SetHighWatermark tells the log its high watermark: kept for retention,
// compaction, the transaction rules and the checkpoint. It never moves the
// watermark above the end.
func (l *Log) SetHighWatermark(hw int64) { panic("unbuilt") }
func (l *Log) HighWatermark() int64      { panic("unbuilt") }

// StableBound is the first offset of a transaction that is open, or ended
// above the high watermark; -1 when there is none. LSO = min(HW, StableBound).
func (l *Log) StableBound() int64                             { panic("unbuilt") }
func (l *Log) Aborted(from, upTo int64) ([]AbortedTxn, error) { panic("unbuilt") }
func (l *Log) Producers() ([]ProducerState, error)            { panic("unbuilt") }

// OffsetForTimestamp finds the first record at or after ts.
func (l *Log) OffsetForTimestamp(ts int64) (TimestampOffset, bool, error) { panic("unbuilt") }

// MaxTimestamp finds the record with the largest timestamp.
func (l *Log) MaxTimestamp() (TimestampOffset, bool, error) { panic("unbuilt") }

// EpochEnd answers OffsetForLeaderEpoch: the largest epoch at or below the one
// asked for and where it ends; (-1, -1) when nothing is known.
func (l *Log) EpochEnd(epoch int32) (int32, int64)        { panic("unbuilt") }
func (l *Log) EpochAt(offset int64) int32                 { panic("unbuilt") }
func (l *Log) LatestEpoch() int32                         { panic("unbuilt") } // -1: none
func (l *Log) AssignEpoch(epoch int32, start int64) error { panic("unbuilt") }

// TruncateTo removes everything at and above off, TruncateFully everything;
// the log goes on at start. IncrementStart moves the log start up.
func (l *Log) TruncateTo(off int64) error      { panic("unbuilt") }
func (l *Log) TruncateFully(start int64) error { panic("unbuilt") }
func (l *Log) IncrementStart(off int64) error  { panic("unbuilt") }

// Configure changes the configuration; it holds from the next append on.
func (l *Log) Configure(c LogConfig) { panic("unbuilt") }

// Flush makes everything appended so far durable; with wait it returns when
// that is so, else it only asks for it.
func (l *Log) Flush(wait bool) error { panic("unbuilt") }

// Retain deletes what retention lets go (the directory calls it regularly)
// and returns the number of segments deleted.
func (l *Log) Retain(now time.Time) (int, error) { panic("unbuilt") }

// Roll closes the active segment if it holds anything.
func (l *Log) Roll() error { panic("unbuilt") }

// Segments lists the segments, oldest first, the active one last.
func (l *Log) Segments() ([]SegmentInfo, error) { panic("unbuilt") }

// OpenSegment gives the bytes of the segment at base, [0, n) of f; release
// must be called.
func (l *Log) OpenSegment(base int64) (f vfs.File, n int64, release func(), err error) {
	panic("unbuilt")
}

// Cleaned is a segment that compaction writes, to replace others.
type Cleaned struct{}

// NewCleaned begins a segment at base; it is .cleaned on disk until Replace.
func (l *Log) NewCleaned(base int64) (*Cleaned, error) { panic("unbuilt") }

// Append adds a batch with its offsets as they are, above all earlier ones.
func (c *Cleaned) Append(v batch.View) error { panic("unbuilt") }

// AppendAborted adds an entry to the transaction index.
func (c *Cleaned) AppendAborted(t AbortedTxn) error { panic("unbuilt") }
func (c *Cleaned) Size() int64                      { panic("unbuilt") }

// SetModified sets the age that retention and compaction lag go by.
func (c *Cleaned) SetModified(t time.Time) { panic("unbuilt") }

// Discard removes the files of a segment that will not be used.
func (c *Cleaned) Discard() error { panic("unbuilt") }

// Replace puts with (nil: nothing) in the place of the sealed segments whose
// bases are old, which must be neighbours; with's base is the first of them.
// A crash leaves the old ones or the new one.
func (l *Log) Replace(old []int64, with *Cleaned) error { panic("unbuilt") }
