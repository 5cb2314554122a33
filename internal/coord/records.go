// SPDX-License-Identifier: Apache-2.0

package coord

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"gregor/internal/batch"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendBatch appends one uncompressed batch of records, all of time now (ms).
// Base offset and leader epoch are the log's to stamp.
func appendBatch(dst []byte, records []Record, now int64) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, batch.HeaderSize)...)
	for i, r := range records {
		n := 1 + 1 + varintLen(int64(i)) + bytesLen(r.Key) + bytesLen(r.Value) + 1
		dst = binary.AppendVarint(dst, int64(n))
		dst = append(dst, 0, 0) // attributes, timestamp delta
		dst = binary.AppendVarint(dst, int64(i))
		dst = appendBytes(dst, r.Key)
		dst = appendBytes(dst, r.Value)
		dst = append(dst, 0) // headers
	}
	b := dst[at:]
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batch.LogOverhead))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(len(records)-1))
	binary.BigEndian.PutUint64(b[27:], uint64(now))
	binary.BigEndian.PutUint64(b[35:], uint64(now))
	for i := 43; i < 57; i++ {
		b[i] = 0xff // no producer id, epoch, sequence
	}
	binary.BigEndian.PutUint32(b[57:], uint32(len(records)))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return dst
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	dst = binary.AppendVarint(dst, int64(len(b)))
	return append(dst, b...)
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

var errShort = errors.New("record ends too early")

// eachRecord calls fn for the records of the batches b from offset from on and
// returns the offset after the last batch. Keys and values borrow from b.
// Control batches hold no records of a coordinator and are passed over.
func eachRecord(b []byte, from int64, fn func(int64, Record)) (int64, error) {
	for len(b) > 0 {
		if len(b) < batch.HeaderSize || batch.View(b).Size() > len(b) || batch.View(b).Size() < batch.HeaderSize {
			return from, fmt.Errorf("batch at offset %d is incomplete", from)
		}
		v := batch.View(b[:batch.View(b).Size()])
		b = b[len(v):]
		if !v.Attributes().Control() {
			if v.Attributes().Codec() != batch.None {
				return from, fmt.Errorf("batch at offset %d is compressed", v.BaseOffset())
			}
			if err := eachInBatch(v, from, fn); err != nil {
				return from, fmt.Errorf("batch at offset %d: %w", v.BaseOffset(), err)
			}
		}
		from = max(from, v.NextOffset())
	}
	return from, nil
}

func eachInBatch(v batch.View, from int64, fn func(int64, Record)) error {
	b := v.Records()
	for range v.Count() {
		n, w := binary.Varint(b)
		if w <= 0 || n < 0 || n > int64(len(b)-w) {
			return errShort
		}
		rec := b[w : w+int(n)]
		b = b[w+int(n):]
		if len(rec) < 1 {
			return errShort
		}
		rec = rec[1:]
		var delta int64
		var ok bool
		var r Record
		if _, rec, ok = varint(rec); !ok { // timestamp
			return errShort
		}
		if delta, rec, ok = varint(rec); !ok {
			return errShort
		}
		if r.Key, rec, ok = varbytes(rec); !ok {
			return errShort
		}
		if r.Value, _, ok = varbytes(rec); !ok {
			return errShort
		}
		if o := v.BaseOffset() + delta; o >= from {
			fn(o, r)
		}
	}
	return nil
}

func varint(b []byte) (int64, []byte, bool) {
	v, w := binary.Varint(b)
	if w <= 0 {
		return 0, nil, false
	}
	return v, b[w:], true
}

func varbytes(b []byte) ([]byte, []byte, bool) {
	n, b, ok := varint(b)
	if !ok || n > int64(len(b)) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}
