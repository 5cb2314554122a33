// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"io"

	"gregor/internal/vfs"
)

// Zeroes ahead of the end. A sync of a file that has grown, or has got new
// blocks, costs a commit of the file system's journal; a sync of bytes that
// were written over costs none. And pages that are made for a large write are
// made in large pieces, which costs half of what it does for small ones. So the
// active segment of a log that is synced often, or gets small appends, is kept
// longer than its content, by zeroes that were written:
//
//	+---------------------------+---------------------+
//	| batches                   | zeroes              |
//	+---------------------------+---------------------+
//	0                           end of the batches    end of the file
//
// Zeroes are no batch, and no bytes that were here before: after a crash the
// log ends before them, and nothing stale can be taken for a batch. They go
// when the segment is sealed, truncated or closed, and when it idles.

// Ahead says how much longer than its content the file may be, and the size
// beyond which it must not be for that.
type Ahead struct{ Bytes, Limit int64 }

const (
	zeroPiece = 256 << 10 // written at a time
	leastZero = 16 << 10  // a short log gets about as many as it has bytes, but so many
)

var zeroes [zeroPiece]byte

// zeroAhead makes the file reach beyond end, which an append at pos is about to
// bring. No room for zeroes is no error. wmu is held.
func (s *Segment) zeroAhead(h vfs.File, pos, end int64, ahead Ahead) error {
	if ahead.Bytes <= 0 || end <= s.zeroed {
		return nil
	}
	n := ahead.Bytes
	for n > leastZero && n > pos {
		n /= 2
	}
	upTo := min(end-end%n+n, ahead.Limit)
	if upTo <= end {
		return nil
	}
	at := max(pos, s.zeroed)
	s.zeroed = upTo // whatever comes of it
	for at < upTo {
		n := min(upTo-at, zeroPiece)
		if _, err := h.WriteAt(zeroes[:n], at); vfs.IsNoSpace(err) {
			if err = h.Truncate(pos); err == nil {
				s.zeroed = 0
			}
			return err
		} else if err != nil {
			return err
		}
		at += n
	}
	return nil
}

// Trim lets the file end with its content.
func (s *Segment) Trim() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	size, _ := s.Tail()
	if s.zeroed <= size {
		return nil
	}
	h, err := s.File()
	if err != nil {
		return err
	}
	defer h.Release()
	return s.trimLocked(h)
}

func (s *Segment) trimLocked(h vfs.File) error {
	size, _ := s.Tail()
	if s.zeroed <= size && !s.spare {
		return nil
	}
	if err := h.Truncate(size); err != nil {
		return err
	}
	s.zeroed, s.spare = 0, false
	return nil
}

// Preallocated tells the segment that the file may have blocks beyond its end,
// which Seal gives back.
func (s *Segment) Preallocated() {
	s.wmu.Lock()
	s.spare = true
	s.wmu.Unlock()
}

// lastContent is where zeroes begin that reach to the end of the file, size
// when there are none. The last batch may end in zeroes of its own, and then
// ends behind that.
func lastContent(r io.ReaderAt, size int64) (int64, error) {
	bp := hopBuffers.Get().(*[]byte)
	defer hopBuffers.Put(bp)
	for size > 0 {
		b := (*bp)[:min(size, int64(len(*bp)))]
		if _, err := r.ReadAt(b, size-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		for i := len(b) - 1; i >= 0; i-- {
			if b[i] != 0 {
				return size - int64(len(b)-1-i), nil
			}
		}
		size -= int64(len(b))
	}
	return 0, nil
}
