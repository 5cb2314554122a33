// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// zstdReaders are all made when the program starts: a decoder has a channel,
// and one made inside a testing/synctest bubble must not be used outside it.
// One is small until it works. When all are taken a new one is made and
// dropped after use.
var zstdReaders = newZstdReaders(2 * runtime.GOMAXPROCS(0))

// zstdReader is a decoder in one of two modes: it grows its output, or it
// stops at the capacity given.
type zstdReader struct {
	*zstd.Decoder
	capped bool
}

type zstdReaderList struct {
	mu   sync.Mutex // a leaf: guards free
	free []*zstdReader
}

func newZstdReaders(n int) *zstdReaderList {
	l := &zstdReaderList{}
	for range n {
		l.free = append(l.free, newZstdReader())
	}
	return l
}

func newZstdReader() *zstdReader {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic("broken invariant: zstd refuses constant options: " + err.Error())
	}
	return &zstdReader{Decoder: d}
}

func (l *zstdReaderList) take() (d *zstdReader, pooled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		d = l.free[n-1]
		l.free = l.free[:n-1]
		return d, true
	}
	return newZstdReader(), false
}

func (l *zstdReaderList) give(d *zstdReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, d)
}

// decompressZstd measures before it inflates. The decoder's own memory limit
// would not do: it also limits the window that a frame declares, and Kafka's
// clients declare windows of megabytes for batches of a few hundred bytes.
func decompressZstd(dst, src []byte, bound int) ([]byte, error) {
	most, err := zstdUpperBound(src)
	if err != nil {
		return dst, err
	}
	d, pooled := zstdReaders.take()
	if pooled {
		defer zstdReaders.give(d)
	}
	start := len(dst)
	capped := most > uint64(bound)
	if capped && cap(dst)-start != bound {
		grown := make([]byte, start, start+bound)
		copy(grown, dst)
		dst = grown
	}
	if d.capped != capped {
		if err := d.ResetWithOptions(nil, zstd.WithDecodeAllCapLimit(capped)); err != nil {
			return dst, err
		}
		d.capped = capped
	}
	out, err := d.DecodeAll(src, dst)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return dst[:start], ErrTooLarge
	case err != nil:
		return dst[:start], err
	}
	return out, nil
}

// zstdUpperBound adds up what the frames of src can inflate to at most, from
// their headers and those of their blocks. A frame that declares more than
// its blocks can hold is a lie, and is not given the memory.
func zstdUpperBound(src []byte) (uint64, error) {
	const blockMost = 128 << 10
	var total uint64
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, err
		}
		src = src[min(h.HeaderSize, len(src)):]
		if h.Skippable {
			if uint64(h.SkippableSize) > uint64(len(src)) {
				return 0, io.ErrUnexpectedEOF
			}
			src = src[h.SkippableSize:]
			continue
		}
		var frame uint64
		for last := false; !last; {
			if len(src) < 3 {
				return 0, io.ErrUnexpectedEOF
			}
			b := uint32(binary.LittleEndian.Uint16(src)) | uint32(src[2])<<16
			src = src[3:]
			last = b&1 != 0
			size, out := int(b>>3), uint64(b>>3)
			switch b >> 1 & 3 {
			case 1: // one byte, repeated
				size = 1
			case 2: // compressed
				out = blockMost
			case 3:
				return 0, zstd.ErrReservedBlockType
			}
			if size > len(src) || out > blockMost {
				return 0, io.ErrUnexpectedEOF
			}
			frame += out
			src = src[size:]
		}
		if h.HasCheckSum {
			src = src[min(4, len(src)):]
		}
		if h.HasFCS {
			if h.FrameContentSize > frame {
				return 0, zstd.ErrFrameSizeMismatch
			}
			frame = h.FrameContentSize
		}
		total += frame
	}
	return total, nil
}
