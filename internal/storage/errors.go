// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"errors"
	"fmt"

	"gregor/internal/storage/producer"
)

var (
	// ErrNoSpace: the append was undone because the disk is full. The
	// directory stays online; the same append succeeds when room returns.
	ErrNoSpace = errors.New("storage: no space left")
	// ErrDirFailed: a sync failed, or the disk answered an I/O error on a
	// write. The directory is offline until the process restarts.
	ErrDirFailed = errors.New("storage: log directory is offline")
	// ErrRecordListTooLarge: the batches of one append exceed a segment.
	ErrRecordListTooLarge = errors.New("storage: append is larger than a segment")
	// ErrInvalidBatch: a frame that cannot be appended (its offsets do not
	// follow the log's, or it is no whole batch).
	ErrInvalidBatch = errors.New("storage: batch cannot be appended")
	// ErrClosed: the log or directory was closed or deleted.
	ErrClosed = errors.New("storage: closed")
	// ErrNotFound: the log does not exist and LogConfig.Create is false.
	ErrNotFound = errors.New("storage: no such log")
	// ErrWrongTopicID: the directory on disk belongs to another topic of the
	// same name.
	ErrWrongTopicID = errors.New("storage: topic id differs from the one on disk")

	// The producer rule book's answers; see package producer.
	ErrOutOfOrderSequence   = producer.ErrOutOfOrderSequence
	ErrInvalidProducerEpoch = producer.ErrInvalidProducerEpoch
	ErrInvalidTxnState      = producer.ErrInvalidTxnState
	ErrCoordinatorFenced    = producer.ErrCoordinatorFenced
	// ErrDuplicateSequence: several batches in one append of which some, but
	// not all, were appended before.
	ErrDuplicateSequence = producer.ErrDuplicateSequence
)

// ErrOffsetOutOfRange: the offset asked for lies outside [Start, End].
type ErrOffsetOutOfRange struct{ Offset, Start, End int64 }

func (e ErrOffsetOutOfRange) Error() string {
	return fmt.Sprintf("storage: offset %d outside [%d, %d]", e.Offset, e.Start, e.End)
}

// CorruptError names damage: which file, where in it, and at which offset of
// the log the damage begins. What lies outside [Offset, Next) is still served.
type CorruptError struct {
	Path   string
	Pos    int64
	Offset int64
	// Next is the first offset after the damage, or -1 when not known.
	Next   int64
	Reason string
	// SetAside is the file that holds a copy of the damaged or cut bytes,
	// empty when there is none.
	SetAside string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("storage: %s is corrupt at byte %d (offset %d): %s", e.Path, e.Pos, e.Offset, e.Reason)
}
