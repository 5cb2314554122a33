// SPDX-License-Identifier: Apache-2.0

package index

// AbortedTxn is one aborted transaction: its producer, the offset of its first
// batch, that of its abort marker, and the last stable offset after it ended.
type AbortedTxn struct {
	ProducerID   int64
	FirstOffset  int64
	LastOffset   int64
	StableOffset int64
}
