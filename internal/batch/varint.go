// SPDX-License-Identifier: Apache-2.0

package batch

import "math/bits"

// Zigzag varints as records use them: 7 bits a byte, lowest first; 5 bytes at
// most for an int32, 10 for an int64. Readers take a position and return the
// one after, or a negative one when the bytes end or the number is too long.

func readVarint(b []byte, i int) (int32, int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		u := uint32(b[i])
		return int32(u>>1) ^ -int32(u&1), i + 1
	}
	return readLongVarint(b, i)
}

func readLongVarint(b []byte, i int) (int32, int) {
	var u uint32
	if i < 0 {
		return 0, -1
	}
	for shift := 0; shift <= 28; shift += 7 {
		if i >= len(b) {
			return 0, -1
		}
		c := b[i]
		i++
		u |= uint32(c&0x7f) << shift
		if c < 0x80 {
			if shift == 28 && c > 0x0f {
				return 0, -1
			}
			return int32(u>>1) ^ -int32(u&1), i
		}
	}
	return 0, -1
}

func readVarlong(b []byte, i int) (int64, int) {
	if uint(i) < uint(len(b)) && b[i] < 0x80 {
		u := uint64(b[i])
		return int64(u>>1) ^ -int64(u&1), i + 1
	}
	return readLongVarlong(b, i)
}

func readLongVarlong(b []byte, i int) (int64, int) {
	var u uint64
	if i < 0 {
		return 0, -1
	}
	for shift := 0; shift <= 63; shift += 7 {
		if i >= len(b) {
			return 0, -1
		}
		c := b[i]
		i++
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if shift == 63 && c > 1 {
				return 0, -1
			}
			return int64(u>>1) ^ -int64(u&1), i
		}
	}
	return 0, -1
}

func appendVarint(b []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63)
	for u >= 0x80 {
		b = append(b, byte(u)|0x80)
		u >>= 7
	}
	return append(b, byte(u))
}

// sizeVarint is the number of bytes that appendVarint adds.
func sizeVarint(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}
