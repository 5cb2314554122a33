// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A frame and its header, v1 or (flexible) v2:
//
//	0        4     6         8             12          14         14+n
//	+--------+-----+---------+-------------+-----------+----------+--------+------
//	| length | key | version | correlation | n (i16,   | client   | tags,  | body
//	| (i32)  | i16 | (i16)   | id (i32)    | -1: null) | id       | v2     |
//	+--------+-----+---------+-------------+-----------+----------+--------+------
//
// length counts the bytes after itself. The client id has a two-byte length in
// both header versions.

var (
	errShortHeader = errors.New("request header is cut short")
	errBadTags     = errors.New("request header has malformed tags")
)

// UnknownAPIError is a request of a key or version that is not served.
type UnknownAPIError struct{ Key, Version int16 }

func (e *UnknownAPIError) Error() string {
	return fmt.Sprintf("api key %d version %d is not served", e.Key, e.Version)
}

// FrameSizeError is a frame that is larger than allowed, or negative.
type FrameSizeError struct{ Size, Max int }

func (e *FrameSizeError) Error() string {
	hint := ""
	switch first := uint32(e.Size); {
	case first>>16 == 0x1603:
		hint = " (a TLS client on a plaintext listener?)"
	case first == 0x47455420 || first == 0x504f5354 || first == 0x48454144:
		hint = " (an HTTP client?)"
	}
	return fmt.Sprintf("frame of %d bytes, allowed are 0 to %d%s", e.Size, e.Max, hint)
}

// header is the fixed part of a parsed request header.
type header struct {
	key, version int16
	correlation  int32
	clientID     []byte // nil when null; borrowed
}

// parseHeader cuts the header off a frame.
func parseHeader(frame []byte, kind func(key, version int16) (Kind, bool)) (header, Kind, []byte, error) {
	if len(frame) < 8 {
		return header{}, Kind{}, nil, errShortHeader
	}
	h := header{
		key:         int16(binary.BigEndian.Uint16(frame)),
		version:     int16(binary.BigEndian.Uint16(frame[2:])),
		correlation: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	k, ok := kind(h.key, h.version)
	if !ok {
		return h, k, nil, &UnknownAPIError{h.key, h.version}
	}
	if len(frame) < 10 {
		return h, k, nil, errShortHeader
	}
	n := int(int16(binary.BigEndian.Uint16(frame[8:])))
	rest := frame[10:]
	if n < -1 || n > len(rest) {
		return h, k, nil, errShortHeader
	}
	if n >= 0 {
		h.clientID, rest = rest[:n:n], rest[n:]
	}
	if k.FlexibleHeader {
		var err error
		if rest, err = skipTags(rest); err != nil {
			return h, k, nil, err
		}
	}
	return h, k, rest, nil
}

// skipTags steps over a tag section: count, then (tag, size, bytes) each.
func skipTags(b []byte) ([]byte, error) {
	count, b, err := uvarint32(b)
	if err != nil {
		return nil, err
	}
	for ; count > 0; count-- {
		if _, b, err = uvarint32(b); err != nil {
			return nil, err
		}
		var size uint32
		if size, b, err = uvarint32(b); err != nil {
			return nil, err
		}
		if uint64(size) > uint64(len(b)) {
			return nil, errBadTags
		}
		b = b[size:]
	}
	return b, nil
}

func uvarint32(b []byte) (uint32, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		return 0, nil, errBadTags
	}
	return uint32(v), b[n:], nil
}
