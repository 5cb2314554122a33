// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A batch of a few kilobytes may inflate to gigabytes. Bodies of more than
// maxPooled bytes are therefore judged as they stream by, one batch at a time
// for the whole process, in memory that does not depend on their size: a few
// buffers and the decoder's window.
//
// Differs from Kafka: such a batch must be no larger than MaxInflated, and
// where it has to be built anew (the topic wants another codec, or records do
// not count up from 0) no larger than rebuildMax; a zstd window must be no
// larger than zstdWindowMax. Kafka has no bounds, and dies of such batches.
const (
	rebuildMax    = 32 << 20
	zstdWindowMax = 32 << 20
	streamBuffer  = 64 << 10
)

// oneLarge is held while a large body is judged.
var oneLarge sync.Mutex

// validateLarge is the end of Validate for a body of more than maxPooled bytes.
func validateLarge(v View, target Codec, r *Rules) (View, Info, error) {
	oneLarge.Lock()
	defer oneLarge.Unlock()
	most := r.MaxInflated
	if most <= 0 {
		most = DefaultMaxInflated
	}
	source := v.Attributes().Codec()
	in, done, err := inflater(source, v.Records(), most)
	if err != nil {
		return nil, Info{}, err
	}
	w, err := walkStream(in, v.Count(), v.BaseTimestamp(), r)
	done()
	if err != nil {
		return nil, Info{}, err
	}
	if source == target && w.numbered {
		return v, stamp(v, r, w), nil
	}
	body, err := v.Body(nil, min(most, rebuildMax))
	if err != nil {
		return nil, Info{}, err
	}
	return rebuild(v, body, target, r, w)
}

// inflater reads what src holds; done gives the decoder back.
func inflater(codec Codec, src []byte, most int) (in io.Reader, done func(), err error) {
	done = func() {}
	switch codec {
	case Gzip:
		z := gzipReaders.Get().(*gzip.Reader)
		if err := z.Reset(bytes.NewReader(src)); err != nil {
			return nil, nil, &CorruptError{Reason: codec.String() + " body", Cause: err}
		}
		in, done = z, func() { gzipReaders.Put(z) }
	case LZ4:
		z := lz4Readers.Get().(*lz4.Reader)
		z.Reset(bytes.NewReader(src))
		in, done = z, func() { z.Reset(nil); lz4Readers.Put(z) }
	case Zstd:
		z, err := zstd.NewReader(struct{ io.Reader }{bytes.NewReader(src)}, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindowMax))
		if err != nil {
			return nil, nil, &CorruptError{Reason: codec.String() + " body", Cause: err}
		}
		in, done = z, z.Close
	default: // snappy cannot grow by more than a factor of 32
		b, err := Decompress(codec, nil, src, most)
		if err != nil {
			return nil, nil, err
		}
		in = bytes.NewReader(b)
	}
	return &bounded{in: in, left: most, codec: codec}, done, nil
}

// bounded ends in ErrTooLarge after left bytes, and tells a decoder's errors
// from the end.
type bounded struct {
	in    io.Reader
	left  int
	codec Codec
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	switch b.left -= n; {
	case b.left < 0, errors.Is(err, zstd.ErrWindowSizeExceeded):
		return 0, ErrTooLarge
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	}
	return n, &CorruptError{Reason: b.codec.String() + " body", Cause: err}
}

// stream reads a record's fields. err is the first error; rest is what is left
// of the record.
type stream struct {
	in   *bufio.Reader
	rest int64
	err  error
}

var errMalformed = errors.New("malformed")

func (s *stream) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = errMalformed // the body ends within a record
	}
	if s.err == nil {
		s.err = err
	}
}

// number reads a varint of at most so many bytes.
func (s *stream) number(most int) int64 {
	var u uint64
	for i := range most {
		if s.err != nil {
			return 0
		}
		c, err := s.in.ReadByte()
		if err != nil {
			s.fail(err)
			return 0
		}
		s.rest--
		if u |= uint64(c&0x7f) << (7 * i); c < 0x80 {
			if most == 5 && u > 1<<32-1 || i == 9 && c > 1 {
				break
			}
			return int64(u>>1) ^ -int64(u&1)
		}
	}
	s.fail(errMalformed)
	return 0
}

// skip passes over n bytes of the record; a negative n is null.
func (s *stream) skip(n int64) {
	if n <= 0 || s.err != nil {
		return
	}
	if n > s.rest {
		s.fail(errMalformed)
		return
	}
	s.rest -= n
	if _, err := s.in.Discard(int(n)); err != nil {
		s.fail(err)
	}
}

// walkStream is walk for a body that is not in memory.
func walkStream(in io.Reader, count int32, base int64, r *Rules) (walked, error) {
	low, high := r.timeRange()
	w := walked{maxTimestamp: NoTimestamp, numbered: true}
	var faults *RecordErrors
	s := stream{in: bufio.NewReaderSize(in, streamBuffer)}
	for k := range count {
		length := s.number(5)
		if s.rest = length; length < 1 {
			s.fail(errMalformed)
		}
		s.skip(1) // attributes
		delta := s.number(10)
		offset := s.number(5)
		key := s.number(5)
		s.skip(key)
		s.skip(s.number(5)) // value
		headers := s.number(5)
		if headers < 0 || headers > s.rest {
			s.fail(errMalformed)
		}
		for ; headers > 0 && s.err == nil; headers-- {
			n := s.number(5)
			if n < 0 {
				s.fail(errMalformed)
			}
			s.skip(n)
			s.skip(s.number(5))
		}
		if s.rest != 0 {
			s.fail(errMalformed)
		}
		if s.err == errMalformed { //nolint:errorlint // ours, bare
			return w, malformed(k)
		}
		if s.err != nil {
			return w, s.err
		}
		if offset != int64(k) {
			w.numbered = false
		}
		ts := base + delta
		if ts > w.maxTimestamp {
			w.maxTimestamp, w.maxAt = ts, k
		}
		faults = judge(faults, k, key < 0 && r.Compacted, ts, low, high)
	}
	switch _, err := s.in.ReadByte(); {
	case err == nil:
		return w, refuse("bytes after the last record")
	case !errors.Is(err, io.EOF):
		return w, err
	}
	if faults != nil {
		faults.conclude()
		return w, faults
	}
	return w, nil
}
