// SPDX-License-Identifier: Apache-2.0

package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gregor/internal/vfs"
)

// Durable points say up to where each log was durable, as of a moment ago. The
// file gregor-durable-points is an array of slots, found by content:
//
//	0              16          20      24        32       40        48       52       56     60   64
//	+--------------+-----------+-------+---------+--------+---------+--------+--------+------+-----+
//	| topic id     | partition | 2     | durable | start  | high    | epochs | newest | back | crc |
//	| (16 bytes)   | (i32)     | (u32) | end i64 | offset | water-  | crc32c | epoch  | u32  | 32c |
//	|              |           |       |         | i64    | mark    |        | i32    |      |     |
//	+--------------+-----------+-------+---------+--------+---------+--------+--------+------+-----+
//
// All zeroes is a free slot. Slots of 64 bytes never straddle a sector. They
// are written after each commit, without a sync of their own: the next commit
// carries them when it is a syncfs, and a second at most goes by otherwise. So
// a point on disk never exceeds what is durable, and lags it little. A slot
// whose checksum is wrong counts as unknown. Epochs is the checksum of the log's
// leader-epoch-checkpoint, which has none itself; 0: not known. Back is 0, or the
// newest epoch is not in there yet and begins at durable end + 1 - back.
const (
	pointsName      = "gregor-durable-points"
	slotSize        = 64
	slotVersion     = 2
	pointsSyncEvery = time.Second
	slotsMax        = 1 << 20 // 64 MiB: far more logs than a directory holds
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type pointKey struct {
	id        [16]byte
	partition int32
}

type point struct {
	durable, start, hw int64
	epochs             uint32
	newest             int32
	back               uint32
}

type points struct {
	path string
	mu   sync.Mutex
	f    vfs.File
	img  []byte // the file's content
	free []int
	// unsyncedFrom says that writes since the last sync are not durable yet.
	dirty bool
	found map[pointKey]int
}

func openPoints(fsys vfs.FS, dir string) (p *points, bad int, err error) {
	p = &points{path: filepath.Join(dir, pointsName), found: map[pointKey]int{}}
	p.f, err = fsys.OpenRW(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		p.f, err = fsys.Create(p.path)
	}
	if err != nil {
		return nil, 0, err
	}
	b, err := vfs.ReadFile(fsys, p.path)
	if err != nil {
		_ = p.f.Close()
		return nil, 0, err
	}
	bad = p.parse(b)
	return p, bad, nil
}

// parse takes the file's content in and counts the damaged slots, which become
// free.
func (p *points) parse(b []byte) (bad int) {
	n := min(len(b)/slotSize, slotsMax)
	p.img = slices.Clone(b[:n*slotSize])
	for i := range n {
		s := p.img[i*slotSize : (i+1)*slotSize]
		key, _, ok := parseSlot(s)
		if _, twice := p.found[key]; ok && !twice {
			p.found[key] = i
			continue
		}
		if !allZero(s) {
			bad++
			clear(s)
		}
		p.free = append(p.free, i)
	}
	slices.Reverse(p.free) // the lowest is taken first
	return bad
}

func parseSlot(s []byte) (key pointKey, pt point, ok bool) {
	if binary.BigEndian.Uint32(s[60:]) != crc32.Checksum(s[:60], castagnoli) || binary.BigEndian.Uint32(s[20:]) != slotVersion {
		return key, pt, false
	}
	copy(key.id[:], s)
	key.partition = int32(binary.BigEndian.Uint32(s[16:]))
	pt.durable = int64(binary.BigEndian.Uint64(s[24:]))
	pt.start = int64(binary.BigEndian.Uint64(s[32:]))
	pt.hw = int64(binary.BigEndian.Uint64(s[40:]))
	pt.epochs = binary.BigEndian.Uint32(s[48:])
	pt.newest = int32(binary.BigEndian.Uint32(s[52:]))
	pt.back = binary.BigEndian.Uint32(s[56:])
	return key, pt, pt.durable >= 0 && pt.start >= 0
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func putSlot(s []byte, key pointKey, pt point) {
	clear(s)
	copy(s, key.id[:])
	binary.BigEndian.PutUint32(s[16:], uint32(key.partition))
	binary.BigEndian.PutUint32(s[20:], slotVersion)
	binary.BigEndian.PutUint64(s[24:], uint64(pt.durable))
	binary.BigEndian.PutUint64(s[32:], uint64(pt.start))
	binary.BigEndian.PutUint64(s[40:], uint64(pt.hw))
	binary.BigEndian.PutUint32(s[48:], pt.epochs)
	binary.BigEndian.PutUint32(s[52:], uint32(pt.newest))
	binary.BigEndian.PutUint32(s[56:], pt.back)
	binary.BigEndian.PutUint32(s[60:], crc32.Checksum(s[:60], castagnoli))
}

// lookup returns what the file says of a log.
func (p *points) lookup(key pointKey) (point, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.found[key]
	if !ok {
		return point{}, false
	}
	_, pt, ok := parseSlot(p.img[i*slotSize : (i+1)*slotSize])
	return pt, ok
}

func (p *points) slotLocked(key pointKey) int {
	if i, ok := p.found[key]; ok {
		return i
	}
	var i int
	if n := len(p.free); n > 0 {
		i, p.free = p.free[n-1], p.free[:n-1]
	} else {
		i = len(p.img) / slotSize
		p.img = append(p.img, make([]byte, slotSize)...)
	}
	p.found[key] = i
	return i
}

// put changes a log's slot in memory and says where it lies.
func (p *points) put(key pointKey, pt point) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.putLocked(key, pt)
}

// write writes the slots of the logs whose flushed ends rose: one write for
// those that lie close together. A slot that changed since then (a truncation
// lowered it, the log is gone) is written as it is now.
func (p *points) write(jobs []commitJob) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := make([]int, 0, len(jobs))
	for i := range jobs {
		if jobs[i].rose {
			changed = append(changed, jobs[i].slot)
		}
	}
	slices.Sort(changed)
	for len(changed) > 0 {
		n := 1
		for n < len(changed) && changed[n]-changed[n-1] <= 8 {
			n++
		}
		from, upTo := changed[0]*slotSize, (changed[n-1]+1)*slotSize
		if _, err := p.f.WriteAt(p.img[from:upTo], int64(from)); err != nil {
			return fmt.Errorf("write %s: %w", p.path, err)
		}
		changed = changed[n:]
		p.dirty = true
	}
	return nil
}

func (p *points) putLocked(key pointKey, pt point) int {
	i := p.slotLocked(key)
	putSlot(p.img[i*slotSize:(i+1)*slotSize], key, pt)
	return i
}

// set writes one log's slot; with sync it is durable on return. Truncation
// lowers the point this way before it removes anything.
func (p *points) set(key pointKey, pt point, sync bool) error {
	p.mu.Lock()
	i := p.putLocked(key, pt)
	_, err := p.f.WriteAt(p.img[i*slotSize:(i+1)*slotSize], int64(i*slotSize))
	p.dirty = true
	p.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write %s: %w", p.path, err)
	}
	if sync {
		return p.sync()
	}
	return nil
}

// drop frees a deleted log's slot.
func (p *points) drop(key pointKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.found[key]
	if !ok {
		return
	}
	delete(p.found, key)
	s := p.img[i*slotSize : (i+1)*slotSize]
	clear(s)
	p.free = append(p.free, i)
	_, _ = p.f.WriteAt(s, int64(i*slotSize)) // a slot of no log is harmless
	p.dirty = true
}

func (p *points) unsynced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dirty
}

// synced: a syncfs made durable what was written before it began.
func (p *points) synced() {
	p.mu.Lock()
	p.dirty = false
	p.mu.Unlock()
}

func (p *points) sync() error {
	p.synced()
	if err := p.f.Datasync(); err != nil {
		return fmt.Errorf("sync %s: %w", p.path, err)
	}
	return nil
}

func (l *Log) key() pointKey { return pointKey{l.id, l.name.Partition} }
