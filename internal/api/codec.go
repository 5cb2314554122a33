// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/binary"
	"errors"
)

var errMalformed = errors.New("malformed body")

// cursor reads the fields of a body. Once it has run out, bad is set and
// everything reads as zero, so that callers check once. Nothing is copied.
type cursor struct {
	b        []byte
	flexible bool
	bad      bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) i8() int8 {
	if b := c.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (c *cursor) i16() int16 {
	if b := c.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (c *cursor) i32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (c *cursor) i64() int64 {
	if b := c.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (c *cursor) uuid() (id [16]byte) {
	copy(id[:], c.take(16))
	return id
}

func (c *cursor) uvarint() int {
	v, n := binary.Uvarint(c.b)
	if n <= 0 || n > 5 || v > 1<<31-1 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return int(v)
}

// name reads a string that must not be null.
func (c *cursor) name() []byte {
	s := c.str()
	if s == nil {
		c.bad, c.b = true, nil
	}
	return s
}

// str reads a string; nil when null.
func (c *cursor) str() []byte {
	var n int
	if c.flexible {
		n = c.uvarint() - 1
	} else {
		n = int(c.i16())
	}
	return c.span(n)
}

// bytes reads a byte field or records; nil when null.
func (c *cursor) bytes() []byte {
	var n int
	if c.flexible {
		n = c.uvarint() - 1
	} else {
		n = int(c.i32())
	}
	return c.span(n)
}

// empty is what is there but has no bytes, which null is not.
var empty = make([]byte, 0)

func (c *cursor) span(n int) []byte {
	if n == -1 || c.bad {
		return nil
	}
	if n == 0 {
		return empty
	}
	return c.take(n)
}

// array reads the length of an array, not null, of elements that are at least
// so many bytes long.
func (c *cursor) array(atLeast int) int {
	var n int
	if c.flexible {
		n = c.uvarint() - 1
	} else {
		n = int(c.i32())
	}
	if n < 0 || n > len(c.b)/atLeast {
		c.bad, c.b = true, nil
		return 0
	}
	return n
}

// tags reads a tag section, giving each known tag's content to known, which
// may be nil.
func (c *cursor) tags(known func(tag int, content *cursor)) {
	if !c.flexible {
		return
	}
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		tag := c.uvarint()
		content := c.take(c.uvarint())
		if known != nil && !c.bad {
			sub := cursor{b: content, flexible: true}
			known(tag, &sub)
			c.bad = c.bad || sub.bad
		}
	}
}

// Appending fields of a response.

func put16(b []byte, v int16) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) }
func put32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func put64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

func putArray(b []byte, flexible bool, n int) []byte {
	if flexible {
		return binary.AppendUvarint(b, uint64(n+1))
	}
	return put32(b, int32(n))
}

func putString[S string | []byte](b []byte, flexible bool, s S) []byte {
	if flexible {
		b = binary.AppendUvarint(b, uint64(len(s)+1))
	} else {
		b = put16(b, int16(len(s)))
	}
	return append(b, s...)
}

func putNullable(b []byte, flexible bool, s *string) []byte {
	if s != nil {
		return putString(b, flexible, *s)
	}
	if flexible {
		return append(b, 0)
	}
	return put16(b, -1)
}

// putLeader appends tag content LeaderIdAndEpoch (KIP-951).
func putLeader(b []byte, tag byte, l Leader) []byte {
	b = append(b, tag, 9)
	b = put32(b, l.Node)
	b = put32(b, l.Epoch)
	return append(b, 0)
}

// putEndpoints appends tag 0 of a response, NodeEndpoints (KIP-951), once for
// each node, with the count of tags before it.
func putEndpoints(b []byte, leaders []Leader) []byte {
	n := 0
	for i, l := range leaders {
		if l.Node >= 0 && l.Host != "" && !seenNode(leaders[:i], l.Node) {
			n++
		}
	}
	if n == 0 {
		return append(b, 0)
	}
	b = append(b, 1, 0)
	content := binary.AppendUvarint(nil, uint64(n+1))
	for i, l := range leaders {
		if l.Node >= 0 && l.Host != "" && !seenNode(leaders[:i], l.Node) {
			content = put32(content, l.Node)
			content = putString(content, true, l.Host)
			content = put32(content, l.Port)
			content = putNullable(content, true, l.Rack)
			content = append(content, 0)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

func seenNode(leaders []Leader, node int32) bool {
	for _, l := range leaders {
		if l.Node == node && l.Host != "" {
			return true
		}
	}
	return false
}
