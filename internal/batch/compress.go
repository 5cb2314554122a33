// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// DefaultLevel asks for Kafka's default of a codec: gzip 6, lz4 9, zstd 3.
const DefaultLevel = -1 << 31

var codecNames = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// ParseCodec knows Kafka's names of codecs, "uncompressed" among them.
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c, n := range codecNames {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, fmt.Errorf("%w: %q", ErrUnknownCodec, name)
}

// Compress appends src, compressed, to dst. Coders are reused and work in the
// caller's goroutine only. level is Kafka's number for the codec (gzip 1-9,
// lz4 1-17, zstd -131072-22; snappy has none) or DefaultLevel.
func Compress(codec Codec, level int, dst, src []byte) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return compressGzip(level, dst, src)
	case Snappy:
		return compressXerial(dst, src), nil
	case LZ4:
		return compressLZ4(level, dst, src)
	case Zstd:
		return compressZstd(level, dst, src)
	}
	return dst, ErrUnknownCodec
}

// Decompress appends what src holds to dst, at most bound bytes of it (0 =
// DefaultMaxInflated): beyond that it stops and returns ErrTooLarge. What is
// not of the codec's format is a *CorruptError.
func Decompress(codec Codec, dst, src []byte, bound int) ([]byte, error) {
	if bound <= 0 {
		bound = DefaultMaxInflated
	}
	var err error
	switch codec {
	case None:
		if len(src) > bound {
			return dst, ErrTooLarge
		}
		return append(dst, src...), nil
	case Gzip:
		dst, err = decompressGzip(dst, src, bound)
	case Snappy:
		dst, err = decompressSnappy(dst, src, bound)
	case LZ4:
		dst, err = decompressLZ4(dst, src, bound)
	case Zstd:
		dst, err = decompressZstd(dst, src, bound)
	default:
		return dst, &CorruptError{Reason: codec.String(), Cause: ErrUnknownCodec}
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		err = &CorruptError{Reason: codec.String() + " body", Cause: err}
	}
	return dst, err
}

// appender is a growing byte slice as an io.Writer.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}

// readBounded appends all of r to dst unless it is more than bound bytes.
func readBounded(dst []byte, r io.Reader, bound int) ([]byte, error) {
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		// One byte beyond the bound tells too much from just enough.
		room := dst[len(dst):min(cap(dst), start+bound+1)]
		n, err := r.Read(room)
		dst = dst[:len(dst)+n]
		if len(dst)-start > bound {
			return dst[:start], ErrTooLarge
		}
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst[:start], err
		}
	}
}

// Pools hold coders that own no channel and start no goroutine, so that they
// may pass from one testing/synctest bubble to another.

var (
	gzipWriters [gzip.BestCompression + 1]sync.Pool // by level
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Writers  = sync.Pool{New: func() any { return lz4.NewWriter(nil) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool // by klauspost's level
)

func compressGzip(level int, dst, src []byte) ([]byte, error) {
	if level < 1 || level > gzip.BestCompression {
		level = 6
	}
	w := appender{dst}
	z, _ := gzipWriters[level].Get().(*gzip.Writer)
	if z == nil {
		var err error
		if z, err = gzip.NewWriterLevel(&w, level); err != nil {
			return dst, err
		}
	} else {
		z.Reset(&w)
	}
	defer gzipWriters[level].Put(z)
	_, err := z.Write(src)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	z.Reset(nil)
	return w.b, err
}

func decompressGzip(dst, src []byte, bound int) ([]byte, error) {
	z := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(z)
	if err := z.Reset(bytes.NewReader(src)); err != nil {
		return dst, err
	}
	return readBounded(dst, z, bound)
}

// lz4 frames as Kafka's clients write them: independent blocks of 64 KiB, no
// checksums. The Java reader refuses dependent blocks.
func compressLZ4(level int, dst, src []byte) ([]byte, error) {
	w := appender{dst}
	z := lz4Writers.Get().(*lz4.Writer)
	defer lz4Writers.Put(z)
	z.Reset(&w)
	err := z.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false),
		lz4.BlockChecksumOption(false), lz4.CompressionLevelOption(lz4Level(level)))
	if err != nil {
		return dst, err
	}
	_, err = z.Write(src)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	z.Reset(nil)
	return w.b, err
}

// lz4Level maps Kafka's 1-17 to the nine levels there are. Kafka's default, 9,
// means its fast compressor, for clients and broker alike, so below 10 is fast.
func lz4Level(level int) lz4.CompressionLevel {
	if level < 10 {
		return lz4.Fast
	}
	return lz4.CompressionLevel(1 << (8 + min(level-9, 9)))
}

func decompressLZ4(dst, src []byte, bound int) ([]byte, error) {
	z := lz4Readers.Get().(*lz4.Reader)
	defer lz4Readers.Put(z)
	z.Reset(bytes.NewReader(src))
	dst, err := readBounded(dst, z, bound)
	z.Reset(nil)
	return dst, err
}

func compressZstd(level int, dst, src []byte) ([]byte, error) {
	if level == DefaultLevel {
		level = 3
	}
	speed := zstd.EncoderLevelFromZstd(level)
	w := appender{dst}
	// As a stream of concurrency 1 an encoder works without channels;
	// EncodeAll would make one.
	z, _ := zstdWriters[speed].Get().(*zstd.Encoder)
	if z == nil {
		var err error
		z, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(speed),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true))
		if err != nil {
			return dst, err
		}
	}
	defer zstdWriters[speed].Put(z)
	z.ResetContentSize(&w, int64(len(src)))
	_, err := z.Write(src)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	z.Reset(nil)
	return w.b, err
}

// Snappy in Kafka is a stream of blocks with the header of xerial's Java
// library; some clients send one raw block instead.
//
//	+------------------------------+---------+---------+--------+-------+-----
//	| 82 53 4e 41 50 50 59 00      | version | compat. | length | block | ...
//	| (magic)                      | i32 = 1 | i32 = 1 | i32    |       |
//	+------------------------------+---------+---------+--------+-------+-----
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

const (
	xerialMagicSize = 8
	xerialBlock     = 32 << 10
)

func compressXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		n := min(len(src), xerialBlock)
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		room := snappy.MaxEncodedLen(n)
		dst = append(dst, make([]byte, room)...)
		block := snappy.Encode(dst[at+4:], src[:n])
		binary.BigEndian.PutUint32(dst[at:], uint32(len(block)))
		dst = dst[:at+4+len(block)]
		src = src[n:]
	}
	return dst
}

func decompressSnappy(dst, src []byte, bound int) ([]byte, error) {
	if len(src) < len(xerialHeader) || !bytes.Equal(src[:xerialMagicSize], xerialHeader[:xerialMagicSize]) {
		return appendSnappyBlock(dst, src, bound)
	}
	start := len(dst)
	for src = src[len(xerialHeader):]; len(src) > 0; {
		if len(src) < 4 {
			return dst[:start], io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		// Concatenated streams repeat the header; its magic reads as a length.
		if n == binary.BigEndian.Uint32(xerialHeader) && len(src) >= len(xerialHeader)-4 {
			src = src[len(xerialHeader)-4:]
			continue
		}
		if uint64(n) > uint64(len(src)) {
			return dst[:start], io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = appendSnappyBlock(dst, src[:n], bound-(len(dst)-start)); err != nil {
			return dst[:start], err
		}
		src = src[n:]
	}
	return dst, nil
}

func appendSnappyBlock(dst, block []byte, bound int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return dst, err
	}
	if n > bound {
		return dst, ErrTooLarge
	}
	// A copy element makes at most 64 bytes of 2: a longer promise is a lie,
	// not worth the memory.
	if n > 32*len(block)+64 {
		return dst, snappy.ErrCorrupt
	}
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	if _, err := snappy.Decode(dst[at:], block); err != nil {
		return dst[:at], err
	}
	return dst, nil
}
