// SPDX-License-Identifier: Apache-2.0

package index

import (
	"encoding/binary"
	"fmt"
	"sort"
	"sync"
)

// TimeEntry says that no batch up to the one that ends with Offset has a
// larger timestamp than Timestamp.
type TimeEntry struct {
	Timestamp int64
	Offset    int64
}

// Time is the time index of a segment in memory. Use NewTime.
type Time struct {
	base int64

	mu      sync.RWMutex
	entries []timeEntry
}

type timeEntry struct {
	ts  int64
	rel int32
}

// NewTime makes an empty index of the segment at base.
func NewTime(base int64) *Time { return &Time{base: base} }

// Append adds an entry unless its timestamp does not rise.
func (x *Time) Append(ts, offset int64) {
	x.mu.Lock()
	if n := len(x.entries); ts >= 0 && (n == 0 || ts > x.entries[n-1].ts) {
		x.entries = append(x.entries, timeEntry{ts, int32(offset - x.base)})
	}
	x.mu.Unlock()
}

// Lookup returns the last entry with a timestamp at or below ts: the first
// record at or after ts is not before its batch.
func (x *Time) Lookup(ts int64) (TimeEntry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].ts > ts })
	if n == 0 {
		return TimeEntry{-1, x.base}, false
	}
	return x.entry(n - 1), true
}

// Last returns the last entry.
func (x *Time) Last() (TimeEntry, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.entries) == 0 {
		return TimeEntry{-1, x.base}, false
	}
	return x.entry(len(x.entries) - 1), true
}

func (x *Time) entry(i int) TimeEntry {
	e := x.entries[i]
	return TimeEntry{e.ts, x.base + int64(e.rel)}
}

// Len is the number of entries.
func (x *Time) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.entries)
}

// Truncate removes the entries at or above offset.
func (x *Time) Truncate(offset int64) {
	x.mu.Lock()
	n := sort.Search(len(x.entries), func(i int) bool { return x.base+int64(x.entries[i].rel) >= offset })
	x.entries = x.entries[:n]
	x.mu.Unlock()
}

// AppendTo appends the file's bytes to b.
func (x *Time) AppendTo(b []byte) []byte {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, e := range x.entries {
		b = binary.BigEndian.AppendUint64(b, uint64(e.ts))
		b = binary.BigEndian.AppendUint32(b, uint32(e.rel))
	}
	return b
}

// ParseTime reads a time index. Timestamps must rise and offsets not fall.
func ParseTime(base int64, b []byte) (*Time, error) {
	if len(b)%TimeEntrySize != 0 {
		return nil, fmt.Errorf("time index: %d bytes are no multiple of %d", len(b), TimeEntrySize)
	}
	x := &Time{base: base, entries: make([]timeEntry, 0, len(b)/TimeEntrySize)}
	for i := 0; i < len(b); i += TimeEntrySize {
		e := timeEntry{int64(binary.BigEndian.Uint64(b[i:])), int32(binary.BigEndian.Uint32(b[i+8:]))}
		n := len(x.entries)
		if e.ts < 0 || e.rel < 0 {
			return nil, fmt.Errorf("time index: entry %d is negative", n)
		}
		if n > 0 && (e.ts <= x.entries[n-1].ts || e.rel < x.entries[n-1].rel) {
			return nil, fmt.Errorf("time index: entry %d does not rise", n)
		}
		x.entries = append(x.entries, e)
	}
	return x, nil
}
