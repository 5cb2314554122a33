// SPDX-License-Identifier: Apache-2.0

package producer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

// The producer snapshot is Kafka's, big-endian:
//
//	0         2           6         10
//	+---------+-----------+---------+----------------------------
//	| version | crc32c of | count   | count entries of 46 bytes
//	| 1 (i16) | 6 to end  | (i32)   |
//	+---------+-----------+---------+----------------------------
//
//	0        8       10        14       22       26        34       38       46
//	+--------+-------+---------+--------+--------+---------+--------+--------+
//	| id     | epoch | last    | last   | offset | time-   | coord. | first  |
//	| i64    | i16   | seq i32 | offset | delta  | stamp   | epoch  | offset |
//	|        |       |         | i64    | i32    | i64     | i32    | of txn |
//	+--------+-------+---------+--------+--------+---------+--------+--------+
//
// It holds the last batch of each producer only. The catalogue of a clean stop
// holds all five, in the format of AppendFull.
const (
	snapshotVersion = 1
	snapshotHeader  = 10
	snapshotEntry   = 46
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (t *Table) ids() []int64 {
	ids := make([]int64, 0, len(t.entries))
	for pid := range t.entries {
		ids = append(ids, pid)
	}
	slices.Sort(ids)
	return ids
}

// AppendSnapshot appends the snapshot file's bytes to b.
func (t *Table) AppendSnapshot(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint16(b, snapshotVersion)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.entries)))
	for _, pid := range t.ids() {
		e := t.entries[pid]
		m := Meta{LastOffset: -1, LastSeq: -1}
		if e.n > 0 {
			m = e.batches[e.n-1]
		}
		b = binary.BigEndian.AppendUint64(b, uint64(pid))
		b = binary.BigEndian.AppendUint16(b, uint16(e.epoch))
		b = binary.BigEndian.AppendUint32(b, uint32(m.LastSeq))
		b = binary.BigEndian.AppendUint64(b, uint64(m.LastOffset))
		b = binary.BigEndian.AppendUint32(b, uint32(m.OffsetDelta))
		b = binary.BigEndian.AppendUint64(b, uint64(e.lastTimestamp))
		b = binary.BigEndian.AppendUint32(b, uint32(e.coordinatorEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(e.txnFirst))
	}
	binary.BigEndian.PutUint32(b[start+2:], crc32.Checksum(b[start+6:], castagnoli))
	return b
}

// Load replaces the table by a snapshot's content.
func (t *Table) Load(b []byte) error {
	if len(b) < snapshotHeader {
		return fmt.Errorf("producer snapshot: %d bytes", len(b))
	}
	if v := binary.BigEndian.Uint16(b); v != snapshotVersion {
		return fmt.Errorf("producer snapshot: unknown version %d", v)
	}
	if got, want := crc32.Checksum(b[6:], castagnoli), binary.BigEndian.Uint32(b[2:]); got != want {
		return fmt.Errorf("producer snapshot: checksum %08x, not %08x", got, want)
	}
	n := int64(int32(binary.BigEndian.Uint32(b[6:])))
	b = b[snapshotHeader:]
	if n < 0 || n*snapshotEntry != int64(len(b)) {
		return fmt.Errorf("producer snapshot: %d entries in %d bytes", n, len(b))
	}
	t.Clear()
	for ; len(b) > 0; b = b[snapshotEntry:] {
		e := newEntry()
		pid := int64(binary.BigEndian.Uint64(b))
		e.epoch = int16(binary.BigEndian.Uint16(b[8:]))
		e.lastTimestamp = int64(binary.BigEndian.Uint64(b[26:]))
		e.coordinatorEpoch = int32(binary.BigEndian.Uint32(b[34:]))
		if e.txnFirst = int64(binary.BigEndian.Uint64(b[38:])); e.txnFirst < 0 {
			e.txnFirst = -1
		}
		m := Meta{
			LastSeq:     int32(binary.BigEndian.Uint32(b[10:])),
			LastOffset:  int64(binary.BigEndian.Uint64(b[14:])),
			OffsetDelta: int32(binary.BigEndian.Uint32(b[22:])),
			Timestamp:   e.lastTimestamp,
		}
		if m.LastOffset >= 0 {
			e.batches[0], e.n = m, 1
		}
		t.put(pid, e)
	}
	return nil
}

func (t *Table) put(pid int64, e entry) {
	e.heard = heardBefore
	t.entries[pid] = &e
	if e.txnFirst >= 0 {
		t.ongoing = insert(t.ongoing, txn{e.txnFirst, -1, pid})
	}
}

// AppendFull appends the whole table, five batches a producer, to b:
// count u32, then for each: id i64, epoch i16, coordinator epoch i32, last
// timestamp i64, transaction start i64, n u8, n x {last seq i32, last offset
// i64, delta i32, timestamp i64}; then the ended transactions: count u32, each
// {first, last, id i64}. The reader's container carries the checksum.
func (t *Table) AppendFull(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.entries)))
	for _, pid := range t.ids() {
		e := t.entries[pid]
		b = binary.BigEndian.AppendUint64(b, uint64(pid))
		b = binary.BigEndian.AppendUint16(b, uint16(e.epoch))
		b = binary.BigEndian.AppendUint32(b, uint32(e.coordinatorEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(e.lastTimestamp))
		b = binary.BigEndian.AppendUint64(b, uint64(e.txnFirst))
		b = append(b, byte(e.n))
		for _, m := range e.batches[:e.n] {
			b = binary.BigEndian.AppendUint32(b, uint32(m.LastSeq))
			b = binary.BigEndian.AppendUint64(b, uint64(m.LastOffset))
			b = binary.BigEndian.AppendUint32(b, uint32(m.OffsetDelta))
			b = binary.BigEndian.AppendUint64(b, uint64(m.Timestamp))
		}
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.ended)))
	for _, x := range t.ended {
		b = binary.BigEndian.AppendUint64(b, uint64(x.first))
		b = binary.BigEndian.AppendUint64(b, uint64(x.last))
		b = binary.BigEndian.AppendUint64(b, uint64(x.pid))
	}
	return b
}

// LoadFull replaces the table by what AppendFull wrote and returns the rest.
func (t *Table) LoadFull(b []byte) ([]byte, error) {
	short := func() ([]byte, error) { return nil, fmt.Errorf("producer table: cut short") }
	if len(b) < 4 {
		return short()
	}
	t.Clear()
	n := int(binary.BigEndian.Uint32(b))
	b = b[4:]
	for ; n > 0; n-- {
		if len(b) < 31 {
			return short()
		}
		e := newEntry()
		pid := int64(binary.BigEndian.Uint64(b))
		e.epoch = int16(binary.BigEndian.Uint16(b[8:]))
		e.coordinatorEpoch = int32(binary.BigEndian.Uint32(b[10:]))
		e.lastTimestamp = int64(binary.BigEndian.Uint64(b[14:]))
		e.txnFirst = int64(binary.BigEndian.Uint64(b[22:]))
		e.n = int8(b[30])
		b = b[31:]
		if e.n < 0 || e.n > Retained || len(b) < int(e.n)*24 {
			return short()
		}
		for i := range e.batches[:e.n] {
			e.batches[i] = Meta{
				LastSeq:     int32(binary.BigEndian.Uint32(b)),
				LastOffset:  int64(binary.BigEndian.Uint64(b[4:])),
				OffsetDelta: int32(binary.BigEndian.Uint32(b[12:])),
				Timestamp:   int64(binary.BigEndian.Uint64(b[16:])),
			}
			b = b[24:]
		}
		t.put(pid, e)
	}
	if len(b) < 4 {
		return short()
	}
	n = int(binary.BigEndian.Uint32(b))
	b = b[4:]
	for ; n > 0; n-- {
		if len(b) < 24 {
			return short()
		}
		t.ended = insert(t.ended, txn{int64(binary.BigEndian.Uint64(b)),
			int64(binary.BigEndian.Uint64(b[8:])), int64(binary.BigEndian.Uint64(b[16:]))})
		b = b[24:]
	}
	return b, nil
}
