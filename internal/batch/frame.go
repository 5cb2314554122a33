// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Next cuts the first batch off b by its frame alone: a length of at least a
// header, magic 2, all bytes there. The view borrows b and cannot grow into
// rest. When b is empty or ends too early the error is ErrIncomplete; a frame
// that more bytes cannot mend is a *CorruptError.
func Next(b []byte) (v View, rest []byte, err error) {
	if len(b) < LogOverhead {
		return nil, b, ErrIncomplete
	}
	length := int32(binary.BigEndian.Uint32(b[8:]))
	if length < HeaderSize-LogOverhead || length > math.MaxInt32-LogOverhead {
		return nil, b, &CorruptError{Reason: fmt.Sprintf("batch length %d", length)}
	}
	if len(b) > 16 && b[16] != 2 {
		return nil, b, &CorruptError{Reason: fmt.Sprintf("magic %d", int8(b[16]))}
	}
	size := int(length) + LogOverhead
	if len(b) < size {
		return nil, b, ErrIncomplete
	}
	return View(b[:size:size]), b[size:], nil
}

// Parse is Next for bytes that must be one batch and nothing else; a short
// one is corrupt.
func Parse(b []byte) (View, error) {
	v, rest, err := Next(b)
	switch {
	case errors.Is(err, ErrIncomplete):
		return nil, corrupt("batch ends early")
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, corrupt("bytes after the batch")
	}
	return v, nil
}

// CheckCRC compares the stored checksum with the content's.
func (v View) CheckCRC() error {
	if sum := v.computeCRC(); sum != v.CRC() {
		return &CorruptError{Reason: fmt.Sprintf("checksum %08x, content has %08x", v.CRC(), sum)}
	}
	return nil
}

// UpdateCRC stores the content's checksum, after one of the Set methods that
// say so.
func (v View) UpdateCRC() { binary.BigEndian.PutUint32(v[17:], v.computeCRC()) }

func (v View) computeCRC() uint32 { return crc32.Checksum(v[21:], castagnoli) }

// SetMaxTimestamp sets the largest timestamp and how it came to be. Call
// UpdateCRC afterwards.
func (v View) SetMaxTimestamp(ts int64, logAppendTime bool) {
	a := v.Attributes() &^ attrLogAppendTime
	if logAppendTime {
		a |= attrLogAppendTime
	}
	v.setAttributes(a)
	binary.BigEndian.PutUint64(v[35:], uint64(ts))
}

func (v View) setAttributes(a Attributes) { binary.BigEndian.PutUint16(v[21:], uint16(a)) }

const (
	attrLogAppendTime Attributes = 1 << 3
	attrTransactional Attributes = 1 << 4
	attrControl       Attributes = 1 << 5
	attrDeleteHorizon Attributes = 1 << 6
)

// DeleteHorizon is the time from which tombstones and empty markers of a
// compacted batch may go. Such a batch keeps it in place of the base
// timestamp, so its records' timestamps count from it.
func (v View) DeleteHorizon() (ms int64, ok bool) {
	if !v.Attributes().HasDeleteHorizon() {
		return 0, false
	}
	return v.BaseTimestamp(), true
}

// Timestamp is that of a record of this batch.
func (v View) Timestamp(r Record) int64 {
	if v.Attributes().LogAppendTime() {
		return v.MaxTimestamp()
	}
	return v.BaseTimestamp() + r.TimestampDelta
}
