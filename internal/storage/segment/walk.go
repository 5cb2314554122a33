// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"gregor/internal/batch"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	walkBuffer = 256 << 10 // checks and recovery: few, large reads
	hopBuffer  = 4 << 10   // headers only: about what one index interval holds
)

var walkBuffers = sync.Pool{New: func() any { b := make([]byte, walkBuffer); return &b }}
var hopBuffers = sync.Pool{New: func() any { b := make([]byte, hopBuffer); return &b }}

// errStop ends a walk early; it is no error to the caller.
var errStop = errors.New("stop")

// Walk visits the batches of r in [from, limit) in order of position. With
// check, each batch's checksum is computed, and a batch is visited only when
// it is right; without, only headers are read. visit gets the whole batch when
// it fits the buffer, else (or without check) at least its header; a control
// batch is always whole. It may stop the walk with errStop.
//
// Walk returns the position after the last good batch; when that is not limit
// and reason is not empty, the bytes there are no batch, and reason says why.
// Offsets must rise, beginning at or above minOffset.
func Walk(r io.ReaderAt, from, limit, minOffset int64, check bool, visit func(pos int64, v batch.View) error) (end int64, reason string, err error) {
	pool := &hopBuffers
	if check {
		pool = &walkBuffers
	}
	bp := pool.Get().(*[]byte)
	defer pool.Put(bp)
	w := window{r: r, limit: limit, buf: *bp}
	for pos := from; pos < limit; {
		h, err := w.at(pos, batch.HeaderSize)
		if err != nil {
			return pos, "", err
		}
		if reason := frameReason(h, limit-pos, minOffset); reason != "" {
			return pos, reason, nil
		}
		v := batch.View(h[:batch.HeaderSize])
		size := int64(v.Size())
		switch {
		case size <= int64(len(w.buf)) && (check || v.Attributes().Control()):
			if h, err = w.at(pos, int(size)); err != nil {
				return pos, "", err
			}
			if int64(len(h)) < size {
				return pos, "the file ends within a batch", nil
			}
			v = batch.View(h[:size])
			if check && crc32.Checksum(v[21:], castagnoli) != v.CRC() {
				return pos, "wrong checksum", nil
			}
		case check:
			var header [batch.HeaderSize]byte
			copy(header[:], v)
			v = header[:]
			sum, err := w.checksum(pos+21, pos+size)
			if err != nil {
				return pos, "", err
			}
			if sum != v.CRC() {
				return pos, "wrong checksum", nil
			}
		}
		if check && v.BaseOffset() > minOffset {
			// The checksum does not cover the base offset. After a gap, the
			// batch that follows must agree with it.
			if bad, err := w.disagrees(pos+size, minOffset, v.NextOffset()); err != nil || bad {
				return pos, "its base offset is not in order with its neighbours", err
			}
			if h, err = w.at(pos, len(v)); err != nil { // the window may have moved
				return pos, "", err
			}
			v = batch.View(h[:len(v)])
		}
		minOffset = v.NextOffset()
		if err := visit(pos, v); err != nil {
			if errors.Is(err, errStop) {
				return pos + size, "", nil
			}
			return pos, "", err
		}
		pos += size
	}
	return limit, "", nil
}

// frameReason says why h, with room bytes left from its start on, is not the
// header of a batch at or above minOffset; empty when it is.
func frameReason(h []byte, room, minOffset int64) string {
	if len(h) < batch.HeaderSize || room < batch.HeaderSize {
		return "the file ends within a batch header"
	}
	v := batch.View(h)
	n := int64(int32(binary.BigEndian.Uint32(h[8:])))
	switch {
	case n < batch.HeaderSize-batch.LogOverhead:
		return fmt.Sprintf("batch length %d is too small", n)
	case n+batch.LogOverhead > room:
		return fmt.Sprintf("batch length %d goes beyond the end of the file", n)
	case v.Magic() != 2:
		return fmt.Sprintf("magic %d is not 2", v.Magic())
	case v.BaseOffset() < minOffset:
		return fmt.Sprintf("base offset %d is below %d", v.BaseOffset(), minOffset)
	case v.LastOffsetDelta() < 0 || v.BaseOffset() > math.MaxInt64-math.MaxInt32-1:
		return "offsets out of range"
	}
	return ""
}

// Resync finds the first position in [from, limit) at which a whole batch with
// a right checksum begins whose base offset is in [minOffset, maxOffset).
func Resync(r io.ReaderAt, from, limit, minOffset, maxOffset int64) (pos int64, base int64, found bool, err error) {
	bp := walkBuffers.Get().(*[]byte)
	defer walkBuffers.Put(bp)
	w := window{r: r, limit: limit, buf: *bp}
	wc := window{r: r, limit: limit, buf: make([]byte, hopBuffer)}
	for pos = from; limit-pos >= batch.HeaderSize; {
		b, err := w.at(pos, batch.HeaderSize)
		if err != nil {
			return 0, 0, false, err
		}
		if len(b) < batch.HeaderSize {
			break
		}
		i := bytes.IndexByte(b[16:len(b)-batch.HeaderSize+17], 2)
		if i < 0 {
			pos += int64(len(b) - batch.HeaderSize + 1)
			continue
		}
		pos += int64(i)
		h := b[i:]
		v := batch.View(h)
		if frameReason(h, limit-pos, minOffset) == "" && v.BaseOffset() < maxOffset {
			size := int64(v.Size())
			want, base := v.CRC(), v.BaseOffset()
			sum, err := wc.checksum(pos+21, pos+size)
			if err != nil {
				return 0, 0, false, err
			}
			if sum == want {
				return pos, base, true, nil
			}
		}
		pos++
	}
	return 0, 0, false, nil
}

// disagrees says that the batch at pos, if there is one, begins at or above
// least but below next.
func (w *window) disagrees(pos, least, next int64) (bool, error) {
	if w.limit-pos < batch.HeaderSize {
		return false, nil
	}
	h, err := w.at(pos, batch.HeaderSize)
	if err != nil || len(h) < batch.HeaderSize {
		return false, err
	}
	v := batch.View(h)
	return frameReason(h, w.limit-pos, least) == "" && v.BaseOffset() < next, nil
}

// window reads a file through one buffer.
type window struct {
	r     io.ReaderAt
	limit int64
	buf   []byte
	pos   int64 // buf[:n] holds [pos, pos+n)
	n     int
}

// at returns the bytes from pos on, at least n of them unless the file (or
// limit) ends before; n fits the buffer.
func (w *window) at(pos int64, n int) ([]byte, error) {
	if pos >= w.pos && pos+int64(n) <= w.pos+int64(w.n) {
		return w.buf[pos-w.pos : w.n], nil
	}
	want := min(int64(len(w.buf)), w.limit-pos)
	w.pos, w.n = pos, 0
	got, err := w.r.ReadAt(w.buf[:want], pos)
	w.n = got
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return w.buf[:got], nil
}

func (w *window) checksum(from, upTo int64) (uint32, error) {
	var sum uint32
	for from < upTo {
		b, err := w.at(from, 1)
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return ^sum, nil // cut short: anything but right
		}
		if int64(len(b)) > upTo-from {
			b = b[:upTo-from]
		}
		sum = crc32.Update(sum, castagnoli, b)
		from += int64(len(b))
	}
	return sum, nil
}
