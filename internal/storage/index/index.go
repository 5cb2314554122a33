// SPDX-License-Identifier: Apache-2.0

// Package index reads and writes the three indexes that stand beside a
// segment: by offset, by time, and of aborted transactions. It knows the bytes
// of their files and how to search them; it knows nothing of the segment.
//
// Entries are written when a segment is sealed (and at a clean stop), never
// one by one: the active segment's entries live in memory. None of the files
// carries a checksum (they are Kafka's), but each entry of the offset and the
// time index names a batch by its last offset, so a reader checks the one
// entry it uses against the batch it points to.
//
//	.index, 8 bytes an entry         .timeindex, 12 bytes an entry
//	0          4          8          0                    8         12
//	+----------+----------+          +--------------------+----------+
//	| last     | position |          | timestamp (i64)    | last     |
//	| offset   | of batch |          |                    | offset   |
//	| - base   | (i32)    |          |                    | - base   |
//	+----------+----------+          +--------------------+----------+
//
//	.txnindex, 34 bytes an entry
//	0     2            10           18           26           34
//	+-----+------------+------------+------------+------------+
//	| 0   | producer   | first      | last       | last stable|
//	| i16 | id (i64)   | offset     | offset     | offset     |
//	+-----+------------+------------+------------+------------+
//
// All integers are big-endian. Offsets rise strictly in .index, timestamps in
// .timeindex. Concurrency: Offset and Time are leaf locks of their own;
// the files' readers hold no state.
package index

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"sync"
)

const (
	// OffsetEntrySize and TimeEntrySize are the sizes of an entry on disk.
	OffsetEntrySize = 8
	TimeEntrySize   = 12
	TxnEntrySize    = 34
)

// Entry says that the batch at Position ends with Offset.
type Entry struct {
	Offset   int64
	Position int64
}

// Offset is the offset index of a segment in memory. The zero value is not
// ready; use NewOffset.
type Offset struct {
	base int64

	mu      sync.RWMutex
	entries []uint64 // (offset - base) << 32 | position, rising
}

// NewOffset makes an empty index of the segment at base.
func NewOffset(base int64) *Offset { return &Offset{base: base} }

// Append adds an entry. Entries that do not rise are left out: they can only
// come from a batch without an offset of its own.
func (x *Offset) Append(offset, position int64) {
	e := uint64(offset-x.base)<<32 | uint64(uint32(position))
	x.mu.Lock()
	if n := len(x.entries); n == 0 || e>>32 > x.entries[n-1]>>32 {
		x.entries = append(x.entries, e)
	}
	x.mu.Unlock()
}

// Lookup returns the last entry with an offset at or below target.
func (x *Offset) Lookup(target int64) (Entry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	rel := target - x.base
	n := sort.Search(len(x.entries), func(i int) bool { return int64(x.entries[i]>>32) > rel })
	if n == 0 {
		return Entry{Offset: x.base}, false
	}
	return x.entry(n - 1), true
}

// Before returns the last entry with a position at or below pos.
func (x *Offset) Before(pos int64) (Entry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := sort.Search(len(x.entries), func(i int) bool { return int64(uint32(x.entries[i])) > pos })
	if n == 0 {
		return Entry{Offset: x.base}, false
	}
	return x.entry(n - 1), true
}

func (x *Offset) entry(i int) Entry {
	e := x.entries[i]
	return Entry{Offset: x.base + int64(e>>32), Position: int64(uint32(e))}
}

// Len is the number of entries.
func (x *Offset) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.entries)
}

// Truncate removes the entries of batches at or beyond position pos.
func (x *Offset) Truncate(pos int64) {
	x.mu.Lock()
	n := sort.Search(len(x.entries), func(i int) bool { return int64(uint32(x.entries[i])) >= pos })
	x.entries = x.entries[:n]
	x.mu.Unlock()
}

// AppendTo appends the file's bytes to b.
func (x *Offset) AppendTo(b []byte) []byte {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, e := range x.entries {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}

// ParseOffset reads an offset index. An entry that does not rise, or a size
// that is no multiple of an entry, is an error.
func ParseOffset(base int64, b []byte) (*Offset, error) {
	if len(b)%OffsetEntrySize != 0 {
		return nil, fmt.Errorf("offset index: %d bytes are no multiple of %d", len(b), OffsetEntrySize)
	}
	x := &Offset{base: base, entries: make([]uint64, 0, len(b)/OffsetEntrySize)}
	for i := 0; i < len(b); i += OffsetEntrySize {
		e := binary.BigEndian.Uint64(b[i:])
		if e>>63 != 0 || e>>31&1 != 0 {
			return nil, fmt.Errorf("offset index: entry %d is negative", i/OffsetEntrySize)
		}
		if n := len(x.entries); n > 0 && (e>>32 <= x.entries[n-1]>>32 || uint32(e) <= uint32(x.entries[n-1])) {
			return nil, fmt.Errorf("offset index: entry %d does not rise", n)
		}
		x.entries = append(x.entries, e)
	}
	return x, nil
}

// LookupFile is Lookup over an index file of size bytes. Of a damaged file the
// answer may be wrong, but it is never above target.
func LookupFile(r io.ReaderAt, size, base, target int64) (Entry, bool, error) {
	rel := target - base
	return searchFile(r, size, base, func(e uint64) bool { return int64(e>>32) <= rel })
}

// BeforeFile is Before over an index file of size bytes.
func BeforeFile(r io.ReaderAt, size, base, pos int64) (Entry, bool, error) {
	return searchFile(r, size, base, func(e uint64) bool { return int64(uint32(e)) <= pos })
}

// searchFile finds the last entry for which low holds: bisecting by single
// entries until a block remains, which is read whole.
func searchFile(r io.ReaderAt, size, base int64, low func(uint64) bool) (Entry, bool, error) {
	const block = 128
	var buf [block * OffsetEntrySize]byte
	from, upTo := int64(0), size/OffsetEntrySize
	for upTo-from > block {
		mid := (from + upTo) / 2
		if err := readFull(r, buf[:OffsetEntrySize], mid*OffsetEntrySize); err != nil {
			return Entry{}, false, err
		}
		if low(binary.BigEndian.Uint64(buf[:])) {
			from = mid
		} else {
			upTo = mid
		}
	}
	b := buf[:(upTo-from)*OffsetEntrySize]
	if err := readFull(r, b, from*OffsetEntrySize); err != nil {
		return Entry{}, false, err
	}
	for i := len(b) - OffsetEntrySize; i >= 0; i -= OffsetEntrySize {
		if e := binary.BigEndian.Uint64(b[i:]); low(e) {
			return Entry{Offset: base + int64(int32(e>>32)), Position: int64(uint32(e))}, true, nil
		}
	}
	return Entry{Offset: base}, false, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
