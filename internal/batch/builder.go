// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"encoding/binary"
	"math"
)

// Builder makes one batch after the other. The zero Builder is ready; a new
// batch begins with Reset. It is not safe for concurrent use.
type Builder struct {
	codec         Codec
	level         int
	baseOffset    int64
	leaderEpoch   int32
	producerID    int64
	producerEpoch int16
	baseSequence  int32
	attributes    Attributes
	deleteHorizon int64
	appendTime    int64
	lastOffset    int64 // inclusive; below baseOffset means "the last record's"

	buf      []byte // header's space, then records uncompressed
	count    int32
	baseTS   int64
	maxTS    int64
	offset   int64 // of the next record
	prepared bool
}

// NewBuilder returns a builder set to codec at Kafka's default level.
func NewBuilder(codec Codec) *Builder {
	b := &Builder{}
	b.Reset()
	b.SetCodec(codec, DefaultLevel)
	return b
}

// Reset drops records and settings (codec and level stay) and keeps memory,
// so the bytes of the batch before are lost.
func (b *Builder) Reset() {
	*b = Builder{
		codec: b.codec, level: b.level, buf: b.buf[:0],
		leaderEpoch: -1, producerID: NoProducerID, producerEpoch: NoEpoch, baseSequence: NoSequence,
		maxTS: NoTimestamp, lastOffset: -1, prepared: true,
	}
	var header [HeaderSize]byte
	b.buf = append(b.buf, header[:]...)
}

func (b *Builder) prepare() {
	if !b.prepared {
		b.level = DefaultLevel
		b.Reset()
	}
}

func (b *Builder) SetCodec(c Codec, level int) { b.prepare(); b.codec, b.level = c, level }

// SetBaseOffset is called before the first Append.
func (b *Builder) SetBaseOffset(o int64)  { b.prepare(); b.baseOffset, b.offset = o, o }
func (b *Builder) SetLeaderEpoch(e int32) { b.prepare(); b.leaderEpoch = e }
func (b *Builder) SetProducer(id int64, epoch int16, baseSequence int32) {
	b.prepare()
	b.producerID, b.producerEpoch, b.baseSequence = id, epoch, baseSequence
}
func (b *Builder) SetTransactional(on bool) { b.prepare(); b.set(attrTransactional, on) }
func (b *Builder) SetControl(on bool)       { b.prepare(); b.set(attrControl, on) }

// SetLogAppendTime makes ts the timestamp of every record.
func (b *Builder) SetLogAppendTime(ts int64) {
	b.prepare()
	b.set(attrLogAppendTime, true)
	b.appendTime = ts
}

// SetDeleteHorizon is called before the first Append: timestamps then count
// from ms.
func (b *Builder) SetDeleteHorizon(ms int64) {
	b.prepare()
	b.set(attrDeleteHorizon, true)
	b.deleteHorizon = ms
}

// SetLastOffset makes the batch end at o though its last record is before:
// compaction keeps a batch's bounds.
func (b *Builder) SetLastOffset(o int64) { b.prepare(); b.lastOffset = o }

func (b *Builder) set(a Attributes, on bool) {
	b.attributes &^= a
	if on {
		b.attributes |= a
	}
}

// Append adds a record at the next offset. A nil key or value is null. The
// arguments are copied.
func (b *Builder) Append(ts int64, key, value []byte, headers ...Header) {
	b.prepare()
	at := b.begin(b.offset, ts, bodyTail(key, value)+sizeHeaders(headers))
	b.buf = appendBytes(b.buf, key)
	b.buf = appendBytes(b.buf, value)
	b.buf = appendVarint(b.buf, int64(len(headers)))
	for _, h := range headers {
		b.buf = appendVarint(b.buf, int64(len(h.Key)))
		b.buf = append(b.buf, h.Key...)
		b.buf = appendBytes(b.buf, h.Value)
	}
	b.end(at)
}

// AppendRecord adds a record of another batch at its own offset, which must
// not be below the offsets added before.
func (b *Builder) AppendRecord(offset, ts int64, r Record) {
	b.prepare()
	at := b.begin(offset, ts, bodyTail(r.Key, r.Value)+sizeVarint(int64(r.headerCount))+len(r.headers))
	b.buf = appendBytes(b.buf, r.Key)
	b.buf = appendBytes(b.buf, r.Value)
	b.buf = appendVarint(b.buf, int64(r.headerCount))
	b.buf = append(b.buf, r.headers...)
	b.end(at)
}

// begin writes a record's fields up to the key; tail is the size of the rest.
func (b *Builder) begin(offset, ts int64, tail int) (end int) {
	if b.count == 0 {
		b.baseTS = ts
		if b.attributes.HasDeleteHorizon() {
			b.baseTS = b.deleteHorizon
		}
	}
	b.maxTS = max(b.maxTS, ts)
	delta, offsetDelta := ts-b.baseTS, offset-b.baseOffset
	size := 1 + sizeVarint(delta) + sizeVarint(offsetDelta) + tail
	b.buf = appendVarint(b.buf, int64(size))
	end = len(b.buf) + size
	b.buf = append(b.buf, 0)
	b.buf = appendVarint(b.buf, delta)
	b.buf = appendVarint(b.buf, offsetDelta)
	b.offset = offset + 1
	b.count++
	return end
}

func (b *Builder) end(at int) {
	if len(b.buf) != at {
		panic("broken invariant: record size differs from what was computed")
	}
}

func bodyTail(key, value []byte) int { return sizeBytes(key) + sizeBytes(value) }

func sizeBytes(p []byte) int {
	if p == nil {
		return 1
	}
	return sizeVarint(int64(len(p))) + len(p)
}

func sizeHeaders(headers []Header) int {
	n := sizeVarint(int64(len(headers)))
	for _, h := range headers {
		n += sizeVarint(int64(len(h.Key))) + len(h.Key) + sizeBytes(h.Value)
	}
	return n
}

func appendBytes(b, p []byte) []byte {
	if p == nil {
		return append(b, 1) // zigzag of -1
	}
	b = appendVarint(b, int64(len(p)))
	return append(b, p...)
}

// Count is the number of records so far, Size the batch's size before
// compression, NextOffset the offset after the last record.
func (b *Builder) Count() int        { return int(b.count) }
func (b *Builder) Size() int         { return max(len(b.buf), HeaderSize) }
func (b *Builder) NextOffset() int64 { return b.offset }

// Bytes finishes the batch. Unless it was compressed the view borrows the
// builder's memory until Reset. A batch without records is a header alone.
func (b *Builder) Bytes() (View, error) {
	b.prepare()
	v := View(b.buf)
	if b.codec != None && b.count > 0 {
		var err error
		out := make([]byte, HeaderSize, HeaderSize+len(b.buf)/2)
		if v, err = compressInto(b.codec, b.level, out, b.buf[HeaderSize:]); err != nil {
			return nil, err
		}
	}
	last := b.offset - 1
	if b.lastOffset >= b.baseOffset {
		last = b.lastOffset
	}
	if len(v)-LogOverhead > math.MaxInt32 || last-b.baseOffset > math.MaxInt32 {
		return nil, corrupt("batch larger than the format allows")
	}
	a := b.attributes
	if b.count > 0 {
		a |= Attributes(b.codec)
	}
	base, most := b.baseTS, b.maxTS
	if b.count == 0 {
		base = NoTimestamp
		if a.HasDeleteHorizon() {
			base = b.deleteHorizon
		}
	}
	if a.LogAppendTime() {
		most = b.appendTime
	}
	be := binary.BigEndian
	be.PutUint64(v[0:], uint64(b.baseOffset))
	be.PutUint32(v[8:], uint32(len(v)-LogOverhead))
	be.PutUint32(v[12:], uint32(b.leaderEpoch))
	v[16] = 2
	be.PutUint16(v[21:], uint16(a))
	be.PutUint32(v[23:], uint32(max(0, last-b.baseOffset)))
	be.PutUint64(v[27:], uint64(base))
	be.PutUint64(v[35:], uint64(most))
	be.PutUint64(v[43:], uint64(b.producerID))
	be.PutUint16(v[51:], uint16(b.producerEpoch))
	be.PutUint32(v[53:], uint32(b.baseSequence))
	be.PutUint32(v[57:], uint32(b.count))
	v.UpdateCRC()
	return v, nil
}

func compressInto(c Codec, level int, dst, src []byte) (View, error) {
	out, err := Compress(c, level, dst, src)
	return View(out), err
}
