// SPDX-License-Identifier: Apache-2.0

// Package batch reads, checks, stamps and builds Kafka record batches of
// format v2 (magic 2), as bytes. It knows nothing of files, topics or the
// network.
//
//	 0        8        12       16  17       21    23        27
//	+--------+--------+--------+---+--------+-----+---------+----------
//	| base   | length | leader | 2 | crc32c | att | lastOff | ...
//	| offset | (i32)  | epoch  |   | (u32)  | i16 | delta   |
//	+--------+--------+--------+---+--------+-----+---------+----------
//	27          35         43          51       53        57      61
//	+-----------+----------+-----------+--------+---------+-------+--------
//	| base ts   | max ts   | producer  | prod.  | base    | count | records
//	| (i64)     | (i64)    | id (i64)  | epoch  | seq i32 | (i32) | ...
//	+-----------+----------+-----------+--------+---------+-------+--------
//
// All integers are big-endian. length counts the bytes after itself (batch
// size - 12). The CRC covers byte 21 to the end, so base offset and leader
// epoch are stamped in place. Source: DefaultRecordBatch.java.
package batch

import "encoding/binary"

const (
	// HeaderSize is the size of a batch without its records.
	HeaderSize = 61
	// LogOverhead is the part of the header that length does not count.
	LogOverhead = 12

	// NoProducerID, NoEpoch, NoSequence and NoTimestamp mark absence.
	NoProducerID int64 = -1
	NoEpoch      int16 = -1
	NoSequence   int32 = -1
	NoTimestamp  int64 = -1
)

// View is one whole batch as bytes, HeaderSize or longer. It borrows the
// bytes; Set methods change them in place. Make one with Next or Parse, which
// check the frame; CheckCRC checks the content.
type View []byte

func (v View) BaseOffset() int64      { return int64(binary.BigEndian.Uint64(v[0:])) }
func (v View) Size() int              { return int(binary.BigEndian.Uint32(v[8:])) + LogOverhead }
func (v View) LeaderEpoch() int32     { return int32(binary.BigEndian.Uint32(v[12:])) }
func (v View) Magic() int8            { return int8(v[16]) }
func (v View) CRC() uint32            { return binary.BigEndian.Uint32(v[17:]) }
func (v View) Attributes() Attributes { return Attributes(binary.BigEndian.Uint16(v[21:])) }
func (v View) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(v[23:])) }
func (v View) LastOffset() int64      { return v.BaseOffset() + int64(v.LastOffsetDelta()) }

// NextOffset is the offset after the batch's last, the next batch's base.
func (v View) NextOffset() int64    { return v.LastOffset() + 1 }
func (v View) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(v[27:])) }
func (v View) MaxTimestamp() int64  { return int64(binary.BigEndian.Uint64(v[35:])) }
func (v View) ProducerID() int64    { return int64(binary.BigEndian.Uint64(v[43:])) }
func (v View) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(v[51:])) }
func (v View) BaseSequence() int32  { return int32(binary.BigEndian.Uint32(v[53:])) }
func (v View) Count() int32         { return int32(binary.BigEndian.Uint32(v[57:])) }
func (v View) Records() []byte      { return v[HeaderSize:] }
func (v View) HasProducerID() bool  { return v.ProducerID() > NoProducerID }
func (v View) LastSequence() int32 {
	if v.BaseSequence() == NoSequence {
		return NoSequence
	}
	return AddSequence(v.BaseSequence(), v.LastOffsetDelta())
}

// SetBaseOffset and SetLeaderEpoch stamp fields that the CRC does not cover.
func (v View) SetBaseOffset(o int64)  { binary.BigEndian.PutUint64(v[0:], uint64(o)) }
func (v View) SetLeaderEpoch(e int32) { binary.BigEndian.PutUint32(v[12:], uint32(e)) }

// AddSequence adds n to a sequence number, which wraps from 2^31-1 to 0.
// Source: DefaultRecordBatch.incrementSequence.
func AddSequence(seq, n int32) int32 {
	if seq > 0x7fffffff-n {
		return n - (0x7fffffff - seq) - 1
	}
	return seq + n
}

// Attributes are the batch's flag bits.
type Attributes uint16

func (a Attributes) Codec() Codec           { return Codec(a & 7) }
func (a Attributes) LogAppendTime() bool    { return a&(1<<3) != 0 }
func (a Attributes) Transactional() bool    { return a&(1<<4) != 0 }
func (a Attributes) Control() bool          { return a&(1<<5) != 0 }
func (a Attributes) HasDeleteHorizon() bool { return a&(1<<6) != 0 }

// Codec is a compression type; 5 to 7 are invalid.
type Codec uint8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)
