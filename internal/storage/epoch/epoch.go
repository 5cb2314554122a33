// SPDX-License-Identifier: Apache-2.0

// Package epoch keeps which leader epoch wrote which offsets of a log: a list
// of (epoch, first offset), both rising. It also reads and writes the list's
// checkpoint, Kafka's leader-epoch-checkpoint:
//
//	0            version
//	2            number of lines that follow
//	0 0          epoch, first offset
//	3 1042
//
// Concurrency: a leaf lock inside Cache. The rules are those of Kafka's
// LeaderEpochFileCache.
package epoch

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Entry says that Epoch's first offset is Start.
type Entry struct {
	Epoch int32
	Start int64
}

// Cache is the list. The zero value is empty and ready.
type Cache struct {
	mu      sync.RWMutex
	entries []Entry
}

// New makes a cache of entries, which must rise.
func New(entries []Entry) *Cache { return &Cache{entries: slices.Clone(entries)} }

// Assign notes that epoch begins at start and says whether that is news. A new
// epoch replaces the entries that begin at or above start, and those of its
// own number or above.
func (c *Cache) Assign(epoch int32, start int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.entries); n > 0 && c.entries[n-1].Epoch == epoch && start >= c.entries[n-1].Start {
		return false
	}
	for n := len(c.entries); n > 0; n-- {
		if last := c.entries[n-1]; last.Epoch < epoch && last.Start < start {
			break
		}
		c.entries = c.entries[:n-1]
	}
	c.entries = append(c.entries, Entry{epoch, start})
	return true
}

// Latest is the last entry's epoch, or -1.
func (c *Cache) Latest() int32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.entries) == 0 {
		return -1
	}
	return c.entries[len(c.entries)-1].Epoch
}

// End answers where epoch ends, for a log that ends at logEnd: the largest
// known epoch at or below it and the first offset after that. An epoch older
// than all known ones ends where the first known one begins, under its own
// number. (-1, -1) when nothing is known of it.
func (c *Cache) End(epoch int32, logEnd int64) (int32, int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := len(c.entries)
	if epoch < 0 || n == 0 || epoch > c.entries[n-1].Epoch {
		return -1, -1
	}
	if epoch == c.entries[n-1].Epoch {
		return epoch, logEnd
	}
	higher, _ := slices.BinarySearchFunc(c.entries, epoch+1, func(e Entry, t int32) int { return int(e.Epoch) - int(t) })
	if higher == 0 {
		return epoch, c.entries[0].Start
	}
	return c.entries[higher-1].Epoch, c.entries[higher].Start
}

// At is the epoch that wrote offset, or -1.
func (c *Cache) At(offset int64) int32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	epoch := int32(-1)
	for _, e := range c.entries {
		if e.Start > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// TruncateEnd forgets the epochs that begin at or above end, and says whether
// there were any.
func (c *Cache) TruncateEnd(end int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.entries)
	for n > 0 && c.entries[n-1].Start >= end {
		n--
	}
	changed := n < len(c.entries)
	c.entries = c.entries[:n]
	return changed
}

// TruncateStart forgets the epochs that end at or below start; the one that
// start falls in begins there from now on.
func (c *Cache) TruncateStart(start int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries, changed := from(c.entries, start)
	c.entries = entries
	return changed
}

// from is entries as a log has them that begins at start, and whether that
// differs. It does not change what it was given, which may be its answer.
func from(entries []Entry, start int64) ([]Entry, bool) {
	n := 0
	for n < len(entries) && entries[n].Start <= start {
		n++
	}
	if n == 0 || n == 1 && entries[0].Start == start {
		return entries, false
	}
	entries = slices.Clone(entries[n-1:])
	entries[0].Start = start
	return entries, true
}

// Clear forgets everything.
func (c *Cache) Clear() {
	c.mu.Lock()
	c.entries = nil
	c.mu.Unlock()
}

// Entries returns a copy of the list.
func (c *Cache) Entries() []Entry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.entries)
}

// Between is entries as a log has them that begins at start, without those
// that begin above end. Entries itself may be part of the answer.
func Between(entries []Entry, start, end int64) []Entry {
	for n := len(entries); n > 0 && entries[n-1].Start > end; n-- {
		entries = entries[:n-1]
	}
	entries, _ = from(entries, start)
	return entries
}

// Encode is the checkpoint of entries.
func Encode(entries []Entry) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "0\n%d\n", len(entries))
	for _, e := range entries {
		fmt.Fprintf(&b, "%d %d\n", e.Epoch, e.Start)
	}
	return b.Bytes()
}

// Parse reads a checkpoint. An empty one holds no entries.
func Parse(b []byte) ([]Entry, error) {
	if len(b) == 0 {
		return nil, nil
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if strings.TrimSpace(lines[0]) != "0" || len(lines) < 2 {
		return nil, fmt.Errorf("leader epoch checkpoint: unknown version %.20q", lines[0])
	}
	n, err := strconv.Atoi(strings.TrimSpace(lines[1]))
	if err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("leader epoch checkpoint: count %.20q, but %d lines", lines[1], len(lines)-2)
	}
	entries := make([]Entry, 0, n)
	for i, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("leader epoch checkpoint: malformed entry %d", i)
		}
		epoch, err1 := strconv.ParseInt(f[0], 10, 32)
		start, err2 := strconv.ParseInt(f[1], 10, 64)
		if err1 != nil || err2 != nil || epoch < 0 || start < 0 {
			return nil, fmt.Errorf("leader epoch checkpoint: malformed entry %d", i)
		}
		e := Entry{int32(epoch), start}
		if i > 0 && (e.Epoch <= entries[i-1].Epoch || e.Start <= entries[i-1].Start) {
			return nil, fmt.Errorf("leader epoch checkpoint: entry %d does not rise", i)
		}
		entries = append(entries, e)
	}
	return entries, nil
}
