// SPDX-License-Identifier: Apache-2.0

// Package clean compacts logs: of the records with one key it keeps the last.
// It decides which log is dirtiest, how far it may be cleaned, and which
// records and batches stay; it reads segments and writes their replacements
// through a small interface, Log. It knows nothing of segments' files, of
// indexes, or of how a replacement survives a crash: that is the log's.
//
// One cleaning, from the first dirty offset D up to U:
//
//	start          D                    M          U       active
//	  |   clean    |        dirty       |          |  not  |
//	  +------------+--------------------+----------+-------+-------
//	  1. read [D, U), key -> last offset, until the map is full at M
//	  2. copy the segments of [start, M), a group at a time, without what
//	     has a later record in the map; M is the next cleaning's D
//
// U is the base of the segment that holds the first of: the last stable
// offset, the active segment, a segment younger than the minimum lag, a
// segment with damage. So every transaction below U has ended, and the
// transaction index tells the aborted ones ahead of their markers.
//
// Invariants of what is written:
//   - A record keeps its offset and timestamp, a batch its first and last
//     offset and its sequences, so duplicates are still recognised.
//   - The last batch of each producer that the log still knows stays, empty if
//     need be; so does the batch that ends at U.
//   - A tombstone stays for delete.retention.ms after the cleaning that first
//     meets it: that cleaning writes the time it may go (the delete horizon)
//     into the batch, in place of the base timestamp.
//   - Records of an aborted transaction go at once; a marker goes after a
//     horizon of its own, counted from when no record of its transaction is
//     left.
//
// Concurrency: Cleaner is shared by any number of goroutines that call Run or
// Step; its mutex is a leaf. Everything in plan.go, keymap.go, txns.go and
// filter.go is pure.
//
// Source: LogCleaner, LogCleanerManager, Cleaner (storage/internals/log).
package clean

import (
	"time"

	"gregor/internal/batch"
	"gregor/internal/storage"
	"gregor/internal/vfs"
)

// Log is a log as compaction sees it; Of makes one of a *storage.Log.
type Log interface {
	Name() storage.Name
	DirPath() string
	Config() storage.LogConfig

	Start() int64
	End() int64
	HighWatermark() int64
	StableBound() int64 // -1: no open transaction

	Segments() ([]storage.SegmentInfo, error)
	OpenSegment(base int64) (f vfs.File, n int64, release func(), err error)
	Aborted(from, upTo int64) ([]storage.AbortedTxn, error)
	// LastRecords tells of each producer the log knows what must stay.
	LastRecords() (map[int64]LastRecord, error)

	NewCleaned(base int64) (Output, error)
	// Cuts counts truncations; lowest is the lowest offset cut to.
	Cuts() (n uint64, lowest int64)
	// Replace puts out in the place of the segments with the bases old, as one
	// act also in a crash. storage.ErrNotFound: they are no longer what was
	// read. Whatever it returns, out is the log's.
	Replace(old []int64, out Output) error
}

// LastRecord is what a log knows last of a producer: the last offset of its
// last data batch, or -1 when it wrote a marker since and no data.
type LastRecord struct {
	DataOffset int64
	Epoch      int16
}

// Output is a segment in the making; *storage.Cleaned is one.
type Output interface {
	Append(v batch.View) error
	AppendAborted(t storage.AbortedTxn) error
	// Since makes Replace refuse if the log was truncated after Cuts was n:
	// also what the keys were learnt from must still be there.
	Since(n uint64)
	// SetModified sets the time of the last change that counts.
	SetModified(t time.Time)
	Discard() error
}
