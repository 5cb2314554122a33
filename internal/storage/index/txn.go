// SPDX-License-Identifier: Apache-2.0

package index

import (
	"encoding/binary"
	"fmt"
)

// AbortedTxn is one aborted transaction: its producer, the offset of its first
// batch, that of its abort marker, and the last stable offset after it ended.
type AbortedTxn struct {
	ProducerID   int64
	FirstOffset  int64
	LastOffset   int64
	StableOffset int64
}

// AppendTxn appends the entry's bytes to b.
func AppendTxn(b []byte, t AbortedTxn) []byte {
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(t.ProducerID))
	b = binary.BigEndian.AppendUint64(b, uint64(t.FirstOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(t.LastOffset))
	return binary.BigEndian.AppendUint64(b, uint64(t.StableOffset))
}

// ParseTxns reads a transaction index of the segment at base.
func ParseTxns(base int64, b []byte) ([]AbortedTxn, error) {
	if len(b)%TxnEntrySize != 0 {
		return nil, fmt.Errorf("transaction index: %d bytes are no multiple of %d", len(b), TxnEntrySize)
	}
	ts := make([]AbortedTxn, 0, len(b)/TxnEntrySize)
	last := base - 1
	for i := 0; i < len(b); i += TxnEntrySize {
		if v := binary.BigEndian.Uint16(b[i:]); v != 0 {
			return nil, fmt.Errorf("transaction index: entry %d has version %d", len(ts), v)
		}
		t := AbortedTxn{
			ProducerID:   int64(binary.BigEndian.Uint64(b[i+2:])),
			FirstOffset:  int64(binary.BigEndian.Uint64(b[i+10:])),
			LastOffset:   int64(binary.BigEndian.Uint64(b[i+18:])),
			StableOffset: int64(binary.BigEndian.Uint64(b[i+26:])),
		}
		if t.ProducerID < 0 || t.FirstOffset < 0 || t.FirstOffset > t.LastOffset || t.LastOffset <= last || t.StableOffset < 0 {
			return nil, fmt.Errorf("transaction index: entry %d is out of order", len(ts))
		}
		last = t.LastOffset
		ts = append(ts, t)
	}
	return ts, nil
}

// Aborted appends to found those of ts that a reader of [from, upTo) must
// know. done says that later segments hold no more of them.
func Aborted(found, ts []AbortedTxn, from, upTo int64) (_ []AbortedTxn, done bool) {
	for _, t := range ts {
		if t.LastOffset >= from && t.FirstOffset < upTo {
			found = append(found, t)
		}
		if t.StableOffset >= upTo {
			return found, true
		}
	}
	return found, false
}
