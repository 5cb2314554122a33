// SPDX-License-Identifier: Apache-2.0

package clean

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// keyMap maps keys to the last offset at which they were seen, in bounded
// memory and without the keys: 24 bytes a key, of which 16 are its hash. It
// starts small and doubles up to its bound.
//
// Differs from Kafka: SHA-256, cut to 128 bits, instead of MD5. Two keys with
// one hash would be taken for one, and for MD5 such keys can be made at will.
type keyMap struct {
	slots  []slot // open addressing, linear
	used   int
	most   int     // slots there may be
	load   float64 // how full slots may get
	latest int64   // no record above has been seen; -1 at first
}

type slot struct {
	hash [2]uint64
	next int64 // offset + 1; 0 is an empty slot
}

const (
	slotSize      = 24
	firstSlots    = 1 << 10
	keptSlots     = 1 << 16 // what an idle map may hold on to
	loadWhileAble = 0.7     // below the bound, room is cheaper than probing
)

// newKeyMap makes a map of at most memory bytes, at least one key.
func newKeyMap(memory int, load float64) *keyMap {
	m := &keyMap{most: max(2, memory/slotSize), load: load}
	m.clear()
	return m
}

// limit is the number of keys that fit.
func (m *keyMap) limit() int { return max(1, int(float64(m.most)*m.load)) }
func (m *keyMap) full() bool { return m.used >= m.limit() }

func (m *keyMap) clear() {
	if len(m.slots) > keptSlots || m.slots == nil {
		m.slots = make([]slot, min(m.most, firstSlots))
	} else {
		clear(m.slots)
	}
	m.used, m.latest = 0, -1
}

func hashOf(key []byte) [2]uint64 {
	sum := sha256.Sum256(key)
	return [2]uint64{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])}
}

// find returns the slot of a hash: the one it is in, or the empty one where it
// belongs. There always is an empty one.
func find(slots []slot, hash [2]uint64) *slot {
	at, _ := bits.Mul64(hash[0], uint64(len(slots)))
	for i := int(at); ; {
		if s := &slots[i]; s.next == 0 || s.hash == hash {
			return s
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// put notes key at offset; false when the map is full and the key is not in
// it, nor can be.
func (m *keyMap) put(key []byte, offset int64) bool {
	hash := hashOf(key)
	s := find(m.slots, hash)
	if s.next == 0 {
		if m.full() {
			return false
		}
		if len(m.slots) < m.most && float64(m.used+1) > loadWhileAble*float64(len(m.slots)) || m.used+1 >= len(m.slots) {
			m.grow()
			s = find(m.slots, hash)
		}
		s.hash = hash
		m.used++
	}
	s.next = max(s.next, offset+1)
	m.latest = max(m.latest, offset)
	return true
}

func (m *keyMap) grow() {
	old := m.slots
	m.slots = make([]slot, max(min(2*len(old), m.most), m.used+2))
	for _, s := range old {
		if s.next != 0 {
			*find(m.slots, s.hash) = s
		}
	}
}

// last is the offset at which key was seen last, or -1.
func (m *keyMap) last(key []byte) int64 { return find(m.slots, hashOf(key)).next - 1 }

// seen says that all records up to offset, inclusive, are in the map.
func (m *keyMap) seen(offset int64) { m.latest = max(m.latest, offset) }
