// SPDX-License-Identifier: Apache-2.0

// Package producer is what a log knows of the producers that wrote to it.
package producer

import "errors"

var (
	ErrOutOfOrderSequence   = errors.New("storage: sequence number out of order")
	ErrInvalidProducerEpoch = errors.New("storage: producer epoch is older than the last one seen")
	ErrInvalidTxnState      = errors.New("storage: a write outside the producer's open transaction")
	ErrCoordinatorFenced    = errors.New("storage: marker of an older transaction coordinator")
	ErrDuplicateSequence    = errors.New("storage: part of the append was appended before")
)

// Origin says who appends, and so how much is checked.
type Origin uint8

const (
	Client Origin = iota
	Coordinator
	Replication
)

// State is one producer as DescribeProducers shows it.
type State struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnStart         int64 // first offset of the open transaction, or -1
}
