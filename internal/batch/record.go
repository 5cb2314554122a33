// SPDX-License-Identifier: Apache-2.0

package batch

import "iter"

// Record is one record of a batch; its slices borrow the batch's bytes (or
// the buffer it was inflated into).
//
//	+---------+-----+----------+---------+-------+-----+-------+-------+---------+--------
//	| length  | att | ts delta | offset  | key   | key | value | value | header  | headers
//	| varint  | i8  | varlong  | delta   | len   |     | len   |       | count   | ...
//	+---------+-----+----------+---------+-------+-----+-------+-------+---------+--------
//
// length counts the bytes after itself; a length of -1 is a null key or value.
// A header is a length and a key, a length (-1 = null) and a value.
type Record struct {
	OffsetDelta    int32
	TimestampDelta int64
	Attributes     int8
	Key, Value     []byte // nil = null, empty = empty
	headers        []byte
	headerCount    int32
	raw            []byte
}

// Header is a key and a value of a record, nil for null.
type Header struct {
	Key   string
	Value []byte
}

// HeaderCount is how many headers the record has.
func (r *Record) HeaderCount() int { return int(r.headerCount) }

// Headers yields the record's headers; the slices borrow.
func (r *Record) Headers() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		i := 0
		for range r.headerCount {
			var k, v []byte
			k, i = readBytes(r.headers, i)
			v, i = readBytes(r.headers, i)
			if i < 0 || !yield(k, v) {
				return
			}
		}
	}
}

// Raw is the whole record, its length in front.
func (r *Record) Raw() []byte { return r.raw }

// Reader walks uncompressed records. It refuses what is not well-formed but
// does not judge offsets or timestamps: Validate does.
type Reader struct {
	body []byte
	left int32
}

// NewReader walks count records in body, as View.Body returns it.
func NewReader(body []byte, count int32) Reader { return Reader{body: body, left: count} }

// Next returns the next record; ok is false at the end. Fewer or more records
// than counted, or a malformed one, is a *CorruptError.
func (r *Reader) Next() (rec Record, ok bool, err error) {
	if r.left <= 0 {
		if len(r.body) > 0 || r.left < 0 {
			return Record{}, false, corrupt("record count does not match the body")
		}
		return Record{}, false, nil
	}
	n := rec.parse(r.body)
	if n < 0 {
		return Record{}, false, corrupt("malformed record")
	}
	r.body = r.body[n:]
	r.left--
	return rec, true, nil
}

// parse reads one record from the start of b and returns its size, or -1.
func (r *Record) parse(b []byte) int {
	length, i := readVarint(b, 0)
	if i < 0 || length < 1 || int(length) > len(b)-i {
		return -1
	}
	end := i + int(length)
	r.raw = b[:end:end]
	b = r.raw
	r.Attributes = int8(b[i])
	r.TimestampDelta, i = readVarlong(b, i+1)
	r.OffsetDelta, i = readVarint(b, i)
	r.Key, i = readBytes(b, i)
	r.Value, i = readBytes(b, i)
	r.headerCount, i = readVarint(b, i)
	if i < 0 || r.headerCount < 0 || int(r.headerCount) > end-i {
		return -1
	}
	r.headers = b[i:]
	if i = skipHeaders(b, i, r.headerCount); i != end {
		return -1
	}
	return end
}

// skipHeaders returns the position after count headers, or -1.
func skipHeaders(b []byte, i int, count int32) int {
	for range count {
		n, j := readVarint(b, i)
		if j < 0 || n < 0 || int(n) > len(b)-j {
			return -1
		}
		n, j = readVarint(b, j+int(n))
		if j < 0 || int(n) > len(b)-j {
			return -1
		}
		i = j + max(0, int(n))
	}
	return i
}

// readBytes reads a length and that many bytes; any negative length is null,
// as Kafka takes it.
func readBytes(b []byte, i int) ([]byte, int) {
	n, i := readVarint(b, i)
	if i < 0 || int(n) > len(b)-i {
		return nil, -1
	}
	if n < 0 {
		return nil, i
	}
	end := i + int(n)
	return b[i:end:end], end
}

// DefaultMaxInflated bounds an inflated body where the caller names no bound:
// a hundred times the default of max.message.bytes.
const DefaultMaxInflated = 100 << 20

// Body returns the records without compression: the batch's own bytes, or
// buf's space (grown as needed) when it has to inflate them. More than bound
// bytes (0 = DefaultMaxInflated) is ErrTooLarge.
func (v View) Body(buf []byte, bound int) ([]byte, error) {
	codec := v.Attributes().Codec()
	if codec == None {
		return v.Records(), nil
	}
	return Decompress(codec, buf[:0], v.Records(), bound)
}

// Each calls fn for every record in order and stops at its first error. buf
// may be nil; its space serves to inflate. Records borrow until Each returns.
func (v View) Each(buf []byte, fn func(Record) error) error {
	body, err := v.Body(buf, 0)
	if err != nil {
		return err
	}
	r := NewReader(body, v.Count())
	for {
		rec, ok, err := r.Next()
		if err != nil || !ok {
			return err
		}
		if err := fn(rec); err != nil {
			return err
		}
	}
}
