// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"gregor/internal/storage"
)

// translations says which of Kafka's errors answers for each of storage's.
// This is the one place where they meet.
var translations = []struct {
	from error
	to   *kerr.Error
}{
	// A full disk is an error that producers retry; the directory stays.
	{storage.ErrNoSpace, kerr.KafkaStorageError},
	{storage.ErrDirFailed, kerr.KafkaStorageError},
	{storage.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{storage.ErrInvalidProducerEpoch, kerr.InvalidProducerEpoch},
	{storage.ErrInvalidTxnState, kerr.InvalidTxnState},
	{storage.ErrCoordinatorFenced, kerr.TransactionCoordinatorFenced},
	{storage.ErrDuplicateSequence, kerr.DuplicateSequenceNumber},
	{storage.ErrRecordListTooLarge, kerr.RecordListTooLarge},
	{storage.ErrInvalidBatch, kerr.CorruptMessage},
	// The log is closed when the partition is deleted, moves, or the broker
	// stops. A client that asks for metadata again learns which.
	{storage.ErrClosed, kerr.NotLeaderForPartition},
	{storage.ErrNotFound, kerr.UnknownTopicOrPartition},
	{storage.ErrWrongTopicID, kerr.InconsistentTopicID},
}

// translate gives Kafka's error for one of storage's. The result wraps both,
// so that a log line names the cause.
func translate(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kafka: asKafka(err), Cause: err}
}

// Error is one of Kafka's errors with its cause. errors.As finds Kafka's.
type Error struct {
	Kafka *kerr.Error
	Cause error
}

func (e *Error) Error() string   { return fmt.Sprintf("%s: %v", e.Kafka.Message, e.Cause) }
func (e *Error) Unwrap() []error { return []error{e.Kafka, e.Cause} }

func asKafka(err error) *kerr.Error {
	var k *kerr.Error
	if errors.As(err, &k) {
		return k
	}
	for _, t := range translations {
		if errors.Is(err, t.from) {
			return t.to
		}
	}
	var outside storage.ErrOffsetOutOfRange
	var corrupt *storage.CorruptError
	switch {
	case errors.As(err, &outside):
		return kerr.OffsetOutOfRange
	case errors.As(err, &corrupt):
		return kerr.CorruptMessage
	case errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut
	}
	return kerr.UnknownServerError
}
